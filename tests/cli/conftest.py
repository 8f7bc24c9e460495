"""Running the command in this process, with an environment that is the same everywhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from localllm.cli.main import run


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command line did."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """80 columns without colour, and nothing of the person's own settings and measurements."""
    for name in list(os.environ):
        if name.startswith(("LOCALLLM_", "_LOCALLLM_")) or name in ("FORCE_COLOR", "NO_COLOR"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    for kind in ("STATE", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"LOCALLLM_{kind}_DIR", str(tmp_path / kind.lower()))


@pytest.fixture
def localllm(plain_environment: None, capsys: pytest.CaptureFixture[str]) -> Command:
    """``localllm("plan", "demo")`` runs a command line and returns what it did."""

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = run(arguments)
        captured = capsys.readouterr()
        return Outcome(code=code, out=captured.out, err=captured.err)

    return call
