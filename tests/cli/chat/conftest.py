"""Models for talking to: the demo, and one slow enough to be interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import shapes
from tests.support.gguf_maker import make_model

SLOW = replace(shapes.TOY, name="Slow", n_layer=6, n_embd=768, n_ff=2048, n_head=8, n_head_kv=2)
ENDLESS = ("--seed", "1", "--temp", "1", "--top-k", "0")
"""Its weights are zeros, so every token is as likely: this seed draws 600 without an end."""


@pytest.fixture(scope="session")
def slow_model(models_dir: Path) -> Path:
    """A hollow model that takes some 10 ms a token."""
    return make_model(models_dir / "slow.gguf", SLOW, quant="F16")


@pytest.fixture(scope="session")
def hollow_model(models_dir: Path) -> Path:
    """A hollow model that takes well under a millisecond a token."""
    return make_model(models_dir / "hollow.gguf", shapes.TOY, quant="F16")


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder
