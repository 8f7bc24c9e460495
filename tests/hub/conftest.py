"""Servers on this machine, and an environment in which no token and no cache of the person is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.hub.headers.cache import HeaderCache
from tests.support.loopback import LoopbackServer


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer() as server:
        yield server


@pytest.fixture
def other() -> Iterator[LoopbackServer]:
    """Another origin."""
    with LoopbackServer() as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> HeaderCache:
    return HeaderCache(tmp_path / "cache")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Without a network but this machine, without secrets."""
    return {"HF_HOME": str(tmp_path / "hf"), "LOCALLLM_CACHE_DIR": str(tmp_path / "cache")}
