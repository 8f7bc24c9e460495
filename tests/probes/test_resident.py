"""Resident memory on the real machine, and of processes that are not there."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from localllm.probes.resident import resident_bytes
from localllm.units import MiB


def test_it_is_what_the_system_says_of_a_process() -> None:
    here = resident_bytes(os.getpid())
    assert here is not None
    assert here == pytest.approx(psutil.Process().memory_info().rss, abs=16 * MiB)


def test_memory_that_is_touched_is_counted() -> None:
    before = resident_bytes(os.getpid())
    held = bytearray(64 * MiB)
    held[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(
        range(0, len(held), os.sysconf("SC_PAGE_SIZE"))
    )
    after = resident_bytes(os.getpid())
    assert before is not None and after is not None
    assert after - before > 32 * MiB


@pytest.mark.parametrize("statm", [None, "", "12", "12 many"])
def test_what_is_not_told_is_none(tmp_path: Path, statm: str | None) -> None:
    if statm is not None:
        folder = tmp_path / "proc" / "7"
        folder.mkdir(parents=True)
        (folder / "statm").write_text(statm)
    assert resident_bytes(7, root=tmp_path) is None
