"""One set-up at a time: a lock that dies with its process.

``flock`` belongs to the open file, so the kernel lets go of it when the last process that holds the
file ends; there is no stale lock to clean up, and the file itself stays. It is inherited by the
guards in ``run.py`` alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(
    path: Path, *, who: str, waiting: Callable[[str], None], tick: Callable[[], None]
) -> Iterator[list[int]]:
    """Holds the lock at ``path``; yields its file descriptors, for ``run(locks=...)``.

    ``who`` is what others read while they wait; ``waiting`` is called once with what the holder
    wrote, and ``tick`` five times a second from then on. Where the file system has no locks (some
    network ones), yields none."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            _take(fd, waiting=waiting, tick=tick)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
                raise
            yield []
            return
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{who}\n".encode(), 0)
        try:
            yield [fd]
        finally:
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def _take(fd: int, *, waiting: Callable[[str], None], tick: Callable[[], None]) -> None:
    said = False
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not said:
                waiting(os.pread(fd, 1000, 0).decode("utf-8", "replace").strip())
                said = True
            tick()
            time.sleep(0.2)


def is_free(path: Path) -> bool:
    """Whether nobody holds the lock at ``path`` right now."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
