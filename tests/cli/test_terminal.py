"""Pages on a real terminal: 80 columns hold them, and NO_COLOR takes the colours away."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pexpect
import pyte
import pytest

from localllm.core.hardware_document import hardware_document
from localllm.units import GiB
from tests.support.specs import gpu, machine

COLUMNS, ROWS = 80, 50
COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3[0-7]|9[0-7])[0-9;]*m")
"""SGR codes that set a foreground colour."""


LONG_BENCH = ["-t", "1", "-p", "8", "-n", "2000", "-r", "100"]
"""One test that is over at once, and one that is not."""


def on_terminal(*arguments: str, **variables: str) -> tuple[str, list[str], int]:
    """Run a command line on a terminal: raw output, the screen's lines, the exit code."""
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LOCALLLM_") and name not in ("COLUMNS", "LINES", "NO_COLOR", "TMUX")
    }
    child = pexpect.spawn(
        sys.executable,
        ["-m", "localllm", *arguments],
        env=environ | {"TERM": "xterm-256color", "LANG": "C.UTF-8"} | variables,
        dimensions=(ROWS, COLUMNS),
        encoding="utf-8",
        timeout=60,
    )
    child.expect(pexpect.EOF)
    child.close()
    screen = pyte.Screen(COLUMNS, ROWS)
    pyte.Stream(screen).feed(child.before)
    lines = [line.rstrip() for line in screen.display]
    return child.before, lines, child.exitstatus


@pytest.fixture
def two_cards(tmp_path: Path) -> str:
    """A saved machine whose figures are as wide as they get on a desk."""
    hardware = machine(gpu(free=140 * GiB), gpu("CUDA1", free=140 * GiB), ram=1500 * GiB)
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(hardware_document(hardware)))
    return str(path)


def test_a_plan_fits_80_columns(bare_llama: Path, two_cards: str) -> None:
    _, lines, code = on_terminal("plan", str(bare_llama), "--hardware", two_cards)
    assert code == 0
    rows = [line for line in lines if re.match(r"(CUDA0|RAM) +\d", line)]
    assert len(rows) == 2
    assert all(re.fullmatch(r"\S+( +-?[\d,]+){8}", row) for row in rows)
    bars = [line for line in lines if re.match(r"(CUDA0|RAM) +[╱█]", line)]
    assert len(bars) == 2
    assert all("of " in bar and "…" not in bar for bar in bars)
    assert [line for line in lines if line.startswith("llama-server -m ")]


def test_colours_come_on_a_terminal_and_go_with_no_color(bare_llama: Path, two_cards: str) -> None:
    arguments = ("plan", str(bare_llama), "--hardware", two_cards)
    coloured, with_colour, _ = on_terminal(*arguments)
    plain, without_colour, _ = on_terminal(*arguments, NO_COLOR="1")
    assert COLOUR.search(coloured)
    assert not COLOUR.search(plain)
    assert with_colour == without_colour


def test_errors_are_coloured_on_a_terminal_alone() -> None:
    coloured, lines, code = on_terminal("plan", "missing.gguf")
    assert code == 5
    assert COLOUR.search(coloured)
    assert lines[0].startswith("error: ")
    assert not COLOUR.search(on_terminal("plan", "missing.gguf", NO_COLOR="1")[0])


def test_progress_leaves_no_trace_on_the_screen(toy_model: Path) -> None:
    raw, lines, code = on_terminal(
        "bench", str(toy_model), "-p", "16", "-n", "500", "-r", "5", "-t", "1", "--no-chat"
    )
    assert code == 0
    assert "bench 2/2: tg500" in raw
    assert "loading" in raw
    assert not [line for line in lines if "bench" in line or "loading" in line]
    assert lines[0].startswith("| model ")


def test_ctrl_c_keeps_the_finished_tests_and_ends_cleanly(toy_model: Path) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "localllm", "bench", str(toy_model), *LONG_BENCH],
        dimensions=(ROWS, 120),
        encoding="utf-8",
        timeout=60,
    )
    child.expect("bench 2/2: tg2000, ")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    screen = pyte.Screen(120, ROWS)
    pyte.Stream(screen).feed(child.before)
    lines = [line.rstrip() for line in screen.display if line.strip()]
    assert child.exitstatus == 130
    assert lines[-1] == "interrupted"
    assert [line for line in lines if line.startswith("build: ")]
    assert "Traceback" not in child.before
