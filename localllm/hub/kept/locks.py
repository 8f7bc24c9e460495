"""Locks on contents of the cache, looked at and taken without ever waiting for one.

They are huggingface_hub's own, ``flock`` on a file beside the cache; a dead process holds none.
Where a file system or a system has no such locks, nobody is known to hold any.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from localllm.errors import LocalLLMError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # asked for before it is used


class _HeldError(Exception):
    """Somebody else has a lock."""


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
    from localllm.hub.download.locks import locked  # which asks for fcntl

    try:
        held.enter_context(locked(lock, busy=_refuse))
    except _HeldError:
        return False
    except (LocalLLMError, OSError):
        return True
    return True


def _refuse(process: int | None) -> None:
    raise _HeldError
