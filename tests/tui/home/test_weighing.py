"""Verdicts by a child process: what is looked at first, until it is stopped; no bug is lost."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from localllm.core.policy import Policy
from localllm.errors import LocalLLMError
from localllm.tui.home.weigher import Ask, Setup
from localllm.tui.home.weighing import Weighing
from tests.tui.support.model_hub import empty_machine, rtx_4090


def setup() -> Setup:
    return Setup(hardware=rtx_4090(), wishes=Policy())


def ask(name: str) -> Ask:
    return Ask(key=f"known:{name}", name=name)


@pytest.fixture(autouse=True)
def _nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    empty_machine(monkeypatch, tmp_path)


def test_what_is_wanted_may_change_and_what_cannot_be_planned_says_why() -> None:
    weighing = Weighing(setup())
    weighing.want([ask("tinyllama-1.1b"), ask("gpt-oss-20b")])
    verdicts = weighing.verdicts()
    key, first = next(verdicts)
    assert key == "known:tinyllama-1.1b" and first.fits and first.quant == "Q8_0"
    assert first.words == "fits, 430 tok/s, 23/23 layers on GPU"
    weighing.want([ask("/nowhere/x.gguf")])
    ((key, other),) = verdicts
    assert other.fits is None and "x.gguf" in other.words and other.more
    assert weighing._child is not None and weighing._child.returncode is not None


def test_stopped_it_yields_nothing_more_and_the_child_is_gone() -> None:
    weighing = Weighing(setup())
    weighing.want([ask("tinyllama-1.1b"), ask("gpt-oss-20b")])
    verdicts = weighing.verdicts()
    next(verdicts)
    weighing.stop()
    assert list(verdicts) == []
    child = weighing._child
    assert child is not None and child.returncode is not None


def test_a_child_that_ends_by_itself_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    weighing = Weighing(setup())
    weighing.want([ask("tinyllama-1.1b")])
    with pytest.raises(LocalLLMError, match="has ended"):
        list(weighing.verdicts())
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(LocalLLMError, match="did not start: No such file"):
        list(Weighing(setup()).verdicts())


def test_a_bug_in_the_child_stays_a_traceback() -> None:
    weighing = Weighing(setup())
    weighing.want([Ask(key="k", name=3)])  # type: ignore[arg-type]  # a bug of whoever asks
    with pytest.raises(RuntimeError, match="Traceback"):
        list(weighing.verdicts())


def test_the_child_ends_with_its_standard_input() -> None:
    child = subprocess.run(
        [sys.executable, "-c", "from localllm.tui.home.weigher import main; main()"],
        input=pickle.dumps(setup()),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        timeout=30,
    )
    assert child.stdout == b"" and child.returncode == 0
