"""A model's file is read while nobody waits for it yet."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from localllm.engine.readahead import read_ahead
from localllm.units import MiB


def _is_here(file: Path, offset: int) -> bool:
    """Whether a page of a file can be had without waiting for the disk."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        return os.preadv(descriptor, [bytearray(4096)], offset, os.RWF_NOWAIT) == 4096
    except BlockingIOError:
        return False
    except OSError:
        pytest.skip("this file system does not say what is cached")
    finally:
        os.close(descriptor)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux what is cached")
def test_the_whole_file_comes_without_being_read(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(16 * MiB))
    descriptor = os.open(file, os.O_RDWR)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    if _is_here(file, 12 * MiB):
        pytest.skip("this file system keeps its pages")
    read_ahead([str(file)])
    until = time.monotonic() + 20
    while not _is_here(file, 16 * MiB - 4096):
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_file_that_is_not_there_is_somebody_elses_error(tmp_path: Path) -> None:
    read_ahead([str(tmp_path / "none.gguf"), str(tmp_path)])
