"""The ends of a vocabulary's arrays, remembered: for one version of one file, and never believed
against what the file itself says.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.hub.gguf import walks
from localllm.hub.gguf.cursor import Cursor
from localllm.hub.gguf.reader import read_header
from localllm.hub.gguf.walks import Walks


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache, in which a file that was written just now counts as settled."""
    monkeypatch.setenv("LOCALLLM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(walks, "_SETTLED_NS", 0)
    return tmp_path / "cache" / "walks"


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The numbers of strings that were passed over one by one."""
    counts: list[int] = []
    walk = Cursor._walk_strings

    def counting(self: Cursor, n: int, what: str) -> None:
        counts.append(n)
        walk(self, n, what)

    monkeypatch.setattr(Cursor, "_walk_strings", counting)
    yield counts


def test_a_vocabulary_is_walked_once_and_never_kept(
    toy_128k_model: Path, folder: Path, walked: list[int]
) -> None:
    first = read_header(toy_128k_model)
    assert walked == [first.n_tokens, 280_147]
    assert "tokenizer.ggml.tokens" not in first.metadata
    walked.clear()
    assert read_header(toy_128k_model) == first
    assert not [n for n in walked if n >= 10_000]
    assert len(list(folder.iterdir())) == 1


def test_another_version_of_the_file_is_walked_again(
    toy_128k_model: Path, folder: Path, walked: list[int], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(toy_128k_model.read_bytes())
    before = read_header(copy)
    times = (copy.stat().st_atime_ns, copy.stat().st_mtime_ns)
    text = copy.read_bytes().replace(b"general.name", b"general.game")
    copy.write_bytes(text)
    os.utime(copy, ns=times)  # as if nothing had been: the system knows better
    walked.clear()
    after = read_header(copy)
    assert walked == [before.n_tokens, 280_147]
    assert set(after.metadata) - set(before.metadata) == {"general.game"}


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: [[begin, n, end - 1] for begin, n, end in rows],
        lambda rows: [[begin, n, end + 8] for begin, n, end in rows],
        lambda rows: [[begin, n, 2**62] for begin, n, end in rows],
        lambda rows: [[begin, n, begin] for begin, n, end in rows],
        lambda rows: [[begin, n, str(end)] for begin, n, end in rows],
        lambda rows: rows[0],
    ],
    ids=["short", "long", "far-away", "nothing", "text", "torn"],
)
def test_an_end_that_is_not_true_costs_a_walk_and_nothing_else(
    change: object, toy_128k_model: Path, folder: Path
) -> None:
    truth = read_header(toy_128k_model)
    (entry,) = folder.iterdir()
    kept = json.loads(entry.read_text())
    assert callable(change)
    entry.write_text(json.dumps(kept | {"ends": change(kept["ends"])}))
    assert read_header(toy_128k_model) == truth


def test_a_file_that_changed_a_moment_ago_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walks, "_SETTLED_NS", 3600 * 10**9)
    file = tmp_path / "new"
    file.write_bytes(b"x")
    Walks(tmp_path / "cache", file.stat()).keep({(1, 10_000): 100_000})
    assert not (tmp_path / "cache").exists()


def test_without_a_folder_there_is_no_memory_and_no_error(toy_128k_model: Path) -> None:
    assert os.environ["LOCALLLM_CACHE_DIR"].startswith(os.devnull)
    assert read_header(toy_128k_model) == read_header(toy_128k_model)
