"""An empty machine with three known models, and a Hub with one: Home as on a first day."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.core.recommendation import Known
from localllm.session import known_models
from tests.support.loopback_hub import LoopbackHub
from tests.tui.support.model_hub import model_hub

KNOWN = ("gpt-oss-120b", "gpt-oss-20b", "llama-3.2-1b")


def few_known() -> tuple[Known, ...]:
    """Three of the known models, which take little to plan: nobody waits for all of them here."""
    found = (each for name in KNOWN for each in known_models((name,)))
    return tuple(each for each in found if each.name in KNOWN)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy_model: Path) -> Iterator[LoopbackHub]:
    """The Hub, and an empty cache."""
    monkeypatch.setattr("localllm.tui.desk.known_models", few_known)
    with model_hub(monkeypatch, tmp_path, toy_model) as served:
        yield served
