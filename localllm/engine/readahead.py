"""A model's files read into memory while llama.cpp is busy with the vocabulary.

llama.cpp asks for a file's pages only after it has read the header and built the vocabulary, a
third of a second for 128k tokens in which the disk would rest. Asked for at once, they come
meanwhile. Nothing more is read than llama.cpp itself asks for, and pages that are here already cost
nothing.
"""

from __future__ import annotations

import _thread
import contextlib
import os
from collections.abc import Sequence


def read_ahead(paths: Sequence[str]) -> None:
    """Have the kernel read files from now on, where it takes such advice; return at once."""
    if not hasattr(os, "posix_fadvise"):
        return
    with contextlib.suppress(RuntimeError):  # no memory for one more thread: it goes without
        # ``Thread.start`` waits for a sign of life that a thread without memory never gives.
        _thread.start_new_thread(_advise, (paths,))


def _advise(paths: Sequence[str]) -> None:
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return  # whoever loads it says why it cannot be read
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        except OSError:
            return
        finally:
            os.close(descriptor)
