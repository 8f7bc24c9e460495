"""The lock of a content that is being written: huggingface_hub's own, so that it waits too.

A ``flock`` on ``.locks/<repository>/<etag>.lock`` dies with its process. The file stays: whoever
removed it would let two processes lock two files of one name.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from localllm.hub.download.disk_errors import disk_error

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # asked for before it is used

LOCKS = Path("/proc/locks")
_MODE = 0o664
"""huggingface_hub's: the members of a group wait for each other."""
_BUSY = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
_UNKNOWN = frozenset(
    {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL, errno.EBADF}
)
"""flock's answers where the file system, or its server, has no such locks."""


@contextmanager
def locked(path: Path, *, busy: Callable[[int | None], None]) -> Iterator[bool]:
    """Hold the lock; yields whether it really keeps others out.

    While another holds it ``busy`` is called again and again, with the number of its process where
    the system tells; it should wait a moment, and ends the waiting by what it raises. A file system
    without locks is gone on with, and False. Raises LocalLLMError where the file cannot be made.
    """
    while True:
        try:
            descriptor, state = _take(path)
        except OSError as error:
            raise disk_error(error, path, what="locked") from None
        try:
            if state is False:
                busy(_holder(descriptor))
                continue
            yield bool(state) and _keeps_out(path)
            return
        finally:
            os.close(descriptor)


def _take(path: Path) -> tuple[int, bool | None]:
    """Open the lock and try to get it once; its descriptor, and what ``_try`` says.

    Raises OSError.
    """
    while True:
        descriptor = _opened(path)
        try:
            state = _try(descriptor)
            is_ours = not state or _is_at(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise
        if is_ours:
            return descriptor, state
        os.close(descriptor)  # another file lies at this path by now


def _opened(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return os.open(path, flags, _MODE)
    except PermissionError:  # somebody else's: to lock it takes no right to write to it
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)


def _try(descriptor: int) -> bool | None:
    """True: locked. False: another has it. None: there are no locks here. Raises OSError."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        if error.errno in _UNKNOWN:
            return None
        raise
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    ours = os.fstat(descriptor)
    try:
        there = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def _keeps_out(path: Path) -> bool:
    """Whether a lock that is held cannot be had again: some file systems grant it to everyone."""
    try:
        second = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return _try(second) is False
    except OSError:
        return False
    finally:
        os.close(second)


def _holder(descriptor: int, *, locks: Path = LOCKS) -> int | None:
    """The process that has the lock, as Linux lists it (proc(5)); None where it does not."""
    status = os.fstat(descriptor)
    try:
        lines = locks.read_text().splitlines()
    except (OSError, ValueError):
        return None
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in lines:
        fields = line.split()  # 1: FLOCK ADVISORY WRITE 1234 fe:00:567 0 EOF
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == place:
            return int(fields[4]) if fields[4].isdigit() and int(fields[4]) > 0 else None
    return None
