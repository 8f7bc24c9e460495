"""Leaving: the terminal as it was, no process left, the exit code, whatever was going on."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.gguf_maker import make_model
from tests.support.shapes import LLAMA_31_70B
from tests.tui.support.moments import HERE
from tests.tui.support.terminal import OnTerminal, localllm

CTRL_Q = "\x11"
F1 = "\x1bOP"


@pytest.fixture(scope="module")
def forty_gb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 40 GB whose weights are a hole, with few tokens: those take long to read."""
    shape = replace(LLAMA_31_70B, n_vocab=1024)
    return make_model(tmp_path_factory.mktemp("large") / "70b.gguf", shape)


def moment(name: str, *arguments: object, stderr: int | None = None) -> OnTerminal:
    """The terminal UI as ``localllm`` starts it, ready for a moment that F1 brings about."""
    module = "tests.tui.support.moments"
    terminal = OnTerminal([sys.executable, "-m", module, name, *map(str, arguments)], stderr=stderr)
    terminal.until("F2")
    terminal.press(F1)
    return terminal


def test_a_load_of_40_gb_and_threads_of_python_hold_no_quit_and_no_log_is_drawn_into(
    forty_gb: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stderr, moment("load", forty_gb, stderr=stderr.fileno()) as terminal:
        terminal.until(HERE)
        assert terminal.others(), "the engine reads in a process of its own"
        terminal.press(CTRL_Q)
        assert terminal.ended() == 0
        terminal.check_nothing_is_left()
    assert log.stat().st_size == 0


def test_a_ui_that_is_killed_takes_the_engine_with_it(forty_gb: Path) -> None:
    with moment("load", forty_gb) as terminal:
        terminal.until(HERE)
        assert terminal.others()
        terminal.signal(signal.SIGKILL)
        assert terminal.ended() == -signal.SIGKILL
        terminal.check_no_process_is_left()


def test_a_bug_ends_the_ui_with_its_traceback_on_a_clean_terminal() -> None:
    with moment("handler") as terminal:
        assert terminal.ended() == 1
        terminal.check_nothing_is_left()
        assert b"Mishap" in terminal.output.rpartition(b"\x1b[?1049l")[2]


def test_a_blocked_loop_ends_by_a_signal_all_the_same() -> None:
    with moment("stuck") as terminal:
        terminal.until(HERE)
        terminal.signal(signal.SIGTERM)
        assert terminal.ended() == 143
        terminal.check_nothing_is_left()


def test_a_window_that_is_closed_while_it_takes_no_output_ends_the_ui() -> None:
    with localllm() as terminal:
        terminal.until("F2")
        for _ in range(50):  # nobody reads: drawing blocks
            terminal.resize(200, 60)
            terminal.resize(80, 24)
        terminal.hang_up()
        assert terminal.process.wait(10) == 129
        terminal.check_no_process_is_left()
