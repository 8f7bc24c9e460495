"""The shipped demo model, loaded once for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from tests.demo.player import Player


@pytest.fixture(scope="session")
def demo_path() -> Path:
    """Where the shipped model lies."""
    return Path(str(files("localllm") / "_demo" / "demo.gguf"))


@pytest.fixture(scope="session")
def demo(demo_path: Path) -> Iterator[Player]:
    """The shipped model on llama.cpp."""
    player = Player(demo_path)
    yield player
    player.close()
