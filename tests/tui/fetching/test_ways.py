"""Where a command would do it, the key that does it here is named."""

from __future__ import annotations

from pathlib import Path

from localllm.core.kept import Leftover
from localllm.tui.fetching.ways import in_keys
from localllm.words.kept import left_over


def test_a_command_that_a_key_stands_for_is_said_as_that_key() -> None:
    assert in_keys("`localllm pull user/repo:Q4_K_M` downloads it.") == "f downloads it."
    assert in_keys("localllm pull user/repo gets what is missing of it.") == (
        "f gets what is missing of it."
    )
    other = "`localllm prune` deletes it."
    assert in_keys(other) == other


def test_a_download_that_was_stopped_begins_with_the_keys_that_go_on_with_it() -> None:
    part = Leftover(kind="partial", path=Path("x.part"), n_bytes=2**20, repo="user/repo", age_s=1.0)
    (note,) = map(in_keys, left_over((part,)))
    assert note == "type / and user/repo, then f goes on: 1.00 MiB are here."
