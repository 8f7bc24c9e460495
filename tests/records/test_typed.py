"""What was typed, in one file with the CLI's prompt."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from prompt_toolkit.history import FileHistory

from localllm.records.typed import append_typed, read_typed

TEXTS = ["hello", "two\nlines", "+ plus\n# no comment", "été \u2028 end", ""]
NOW = datetime(2026, 11, 21)


@pytest.mark.parametrize("by_prompt", [False, True])
def test_each_shell_reads_what_the_other_wrote(tmp_path: Path, by_prompt: bool) -> None:
    path = tmp_path / "typed"
    history = FileHistory(str(path))
    for text in TEXTS:
        if by_prompt:
            history.store_string(text)
        else:
            append_typed(path, text, now=NOW)
    assert list(read_typed(path)) == TEXTS
    assert list(history.load_history_strings()) == TEXTS[::-1]


def test_the_newest_are_read_of_a_file_of_any_size(tmp_path: Path) -> None:
    path = tmp_path / "typed"
    assert read_typed(path) == ()
    for n in range(20):
        append_typed(path, f"{n} " + "x" * 100_000, now=NOW)
    assert [text.split()[0] for text in read_typed(path, most=3)] == ["17", "18", "19"]
    assert read_typed(tmp_path) == ()


def test_it_is_private(tmp_path: Path) -> None:
    append_typed(tmp_path / "typed", "secret", now=NOW)
    assert (tmp_path / "typed").stat().st_mode & 0o777 == 0o600
