"""How an error is written: one line in a pipe, whole words within the width of a terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pexpect
import pytest

from localllm.cli.output import show_error
from localllm.errors import LocalLLMError

LONG = "The file models/a-rather-long-name.gguf cannot be what it says " * 3


def test_in_a_pipe_an_error_is_one_line_and_its_hint_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_error(LocalLLMError(LONG.strip(), hint=LONG.strip()))
    assert capsys.readouterr().err == f"error: {LONG.strip()}\nhint: {LONG.strip()}\n"


def test_a_name_with_a_line_break_does_not_break_the_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_error(LocalLLMError("a\nerror: b\x1b[31m.gguf is empty."))
    assert capsys.readouterr().err == "error: a error: b\\x1b[31m.gguf is empty.\n"


@pytest.mark.parametrize("columns", [40, 72])
def test_on_a_terminal_an_error_breaks_between_words(columns: int, tmp_path: Path) -> None:
    name = "absent-model-of-some-size.gguf"
    child = pexpect.spawn(
        sys.executable,
        ["-m", "localllm", "plan", f"{tmp_path.name}/{name}", "--hardware", "rtx-4090"],
        env={**os.environ, "TERM": "dumb"},
        dimensions=(24, columns),
        encoding="utf-8",
        cwd=tmp_path,
    )
    child.expect(pexpect.EOF)
    child.close()
    lines = child.before.splitlines()
    assert child.exitstatus == 5
    assert lines[0].startswith("error: There is no file")
    first_hint = next(i for i, line in enumerate(lines) if line.startswith("hint: "))
    assert all(line.startswith("       ") for line in lines[1:first_hint])
    assert all(line.startswith("      ") for line in lines[first_hint + 1 :])
    assert any(name in line for line in lines)  # it can be copied in one piece
    assert all(len(line) <= columns for line in lines if name not in line)
    assert " ".join(line.strip() for line in lines[:first_hint]).endswith(".gguf.")
