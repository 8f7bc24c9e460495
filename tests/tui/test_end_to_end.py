"""``localllm`` as a person meets it: a model is picked, planned, talked to, and left."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tui.support.driving import WIDE
from tests.tui.support.terminal import OnTerminal
from tests.tui.support.tmux import InTmux

LONG_S = 60.0
"""For anything, however busy the machine is."""

CTRL_Q = "\x11"
QUESTION = "hello"
ANSWERED = re.compile(rf"▌ {QUESTION}\s+(?P<text>\S.*?)\s+— (?P<n>\d+) tokens · (?P<speed>[\d,.]+)")
"""A question, its answer, and the answer's tokens and tokens/s."""


@pytest.fixture(params=["a terminal of 120x34", "tmux at 80x24"])
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OnTerminal | InTmux]:
    """``localllm`` on a terminal, with folders that nobody has used."""
    command = [sys.executable, "-m", "localllm"]
    folders = ("LOCALLLM_STATE_DIR", "LOCALLLM_CONFIG_DIR", "LOCALLLM_CACHE_DIR", "HF_HOME")
    variables = {name: str(tmp_path / name) for name in folders}
    if request.param.startswith("tmux"):
        if shutil.which("tmux") is None:
            pytest.skip("tmux is not installed")
        with InTmux(command, folder=tmp_path, variables=variables) as in_tmux:
            yield in_tmux
    else:
        with OnTerminal(command, size=WIDE, variables=variables) as on_terminal:
            yield on_terminal


def test_a_model_is_picked_planned_asked_and_left(terminal: OnTerminal | InTmux) -> None:
    terminal.until("● demo", timeout_s=LONG_S)
    terminal.press("demo\r")  # as fast as one likes: the filter first, then what it leaves
    terminal.until("exact (llama.cpp)", timeout_s=LONG_S)
    assert "✓ fits" in terminal.text
    assert "F3[Plan]" in terminal.text
    terminal.press("c")
    terminal.until("loaded in", timeout_s=LONG_S)
    terminal.press(f"{QUESTION}\r")
    terminal.until(lambda: answered(terminal), timeout_s=LONG_S)
    answer = answered(terminal)
    assert answer is not None
    assert len(answer["text"].split()) > 2
    assert int(answer["n"]) > 2
    assert float(answer["speed"].replace(",", "")) > 0
    terminal.press(CTRL_Q)
    assert terminal.ended(timeout_s=LONG_S) == 0
    terminal.check_nothing_is_left()


def answered(terminal: OnTerminal | InTmux) -> re.Match[str] | None:
    """The answer as it is read, without the frame and the columns beside it."""
    lines = terminal.text.splitlines()
    return ANSWERED.search(" ".join(re.split(r"[╭│╰]", line)[0].strip() for line in lines))
