"""Locks on contents of the cache, looked at and taken without ever waiting for one.

They are huggingface_hub's own, ``flock`` on a file beside the cache; a dead process holds none.
Where a file system or a system has no such locks, nobody is known to hold any.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # asked for before it is used

_MODE = 0o664
"""huggingface_hub's: the members of a group wait for each other."""


def is_held(lock: Path) -> bool:
    """Whether another holder has a lock. It is not made where it is not there, and not kept."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)
    return False


@contextmanager
def hold(locks: Sequence[Path]) -> Iterator[tuple[Path, ...]]:
    """Hold locks, made where they are not there, and yield those that somebody else has.

    One that cannot be made (in a folder that may not be written to) is done without.
    """
    with ExitStack() as held:
        yield tuple(lock for lock in locks if not _take(lock, held))


def _take(lock: Path, held: ExitStack) -> bool:
    if fcntl is None:
        return True
    flags = os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | flags, _MODE)
        except PermissionError:  # somebody else's: to lock it takes no right to write to it
            descriptor = os.open(lock, os.O_RDONLY | flags)
    except OSError:
        return True
    held.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
