"""The disk begins to write while more bytes come, where the system can be told to (Linux)."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

_WRITE = 2
"""``SYNC_FILE_RANGE_WRITE``: begin, and wait for nothing; see sync_file_range(2)."""


def begin_writing(descriptor: int, start: int, n_bytes: int) -> None:
    """Have the kernel begin to write these bytes of a file to its disk.

    It waits for nothing, promises nothing and, unlike ``posix_fadvise``, forgets nothing that is
    read again when the model is loaded. Errors of the disk are for ``fsync`` to tell.
    """
    if (call := _sync_file_range()) is not None:
        call(descriptor, start, n_bytes, _WRITE)


@cache
def _sync_file_range() -> Any | None:
    try:
        call = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):  # not Linux
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return call
