"""A Hub with one model, for downloads that a person watches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.loopback_hub import LoopbackHub
from tests.tui.support.model_hub import model_hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy_model: Path) -> Iterator[LoopbackHub]:
    """The Hub, and an empty cache."""
    with model_hub(monkeypatch, tmp_path, toy_model) as served:
        yield served
