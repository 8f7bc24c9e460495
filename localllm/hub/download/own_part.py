"""A part that no other process writes to, where locks keep nobody out.

Two processes that write to one file would both be trusted for what one of them got. So the shared
part is taken by renaming it, which only one can do, and given back at an orderly end: only a
process that is killed leaves a part that nobody goes on with.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def own_part(shared: Path) -> Iterator[Path]:
    """Yield a path beside ``shared`` that is this call's own; what lay at ``shared`` is there."""
    own = shared.with_name(f"{shared.stem}.{secrets.token_hex(4)}{shared.suffix}")
    with suppress(OSError):
        os.rename(shared, own)
    try:
        yield own
    finally:
        with suppress(OSError):
            if _size(own) > _size(shared):
                os.replace(own, shared)
            elif os.path.lexists(own):
                own.unlink()


def _size(path: Path) -> int:
    """The size of what lies there itself; -1 where nothing does."""
    try:
        return path.lstat().st_size
    except OSError:
        return -1
