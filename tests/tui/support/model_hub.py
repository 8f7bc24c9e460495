"""A Hub on this machine with one small model, and an empty cache that it is fetched into."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from localllm.core.hardware import Hardware
from localllm.session import hardware_named
from tests.support.loopback_hub import LoopbackHub

REPO = "maker/Toy-GGUF"
NAME = f"{REPO}:F16"


@contextmanager
def model_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Path
) -> Iterator[LoopbackHub]:
    """Serve ``maker/Toy-GGUF`` with one file, to whoever asks the Hub meanwhile."""
    empty_machine(monkeypatch, tmp_path)
    with LoopbackHub() as hub:
        hub.add_repo(REPO, {"Toy-F16.gguf": model}, licence="apache-2.0")
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


def empty_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away the person's models, settings and tools: folders of the test's own stand in."""
    for name in list(os.environ):
        if name.startswith(("HF_", "OLLAMA_", "LLAMA_CACHE", "LMSTUDIO")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for kind in ("STATE", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"LOCALLLM_{kind}_DIR", str(tmp_path / kind.lower()))


def rtx_4090() -> Hardware:
    """A machine that is the same everywhere: nothing of it is measured."""
    return hardware_named("rtx-4090")
