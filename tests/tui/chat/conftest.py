"""Conversations of a test's own, and a model slow enough to be stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.chat.conftest import SLOW
from tests.support.gguf_maker import make_model


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCALLLM_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def slow_model(models_dir: Path) -> Path:
    """Weights of zeros, some 5 ms a token: no token ends an answer but by chance."""
    path = models_dir / "slow.gguf"
    return path if path.exists() else make_model(path, SLOW, quant="F16")
