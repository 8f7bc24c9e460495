"""Small files of our own in the cache folder: written whole or not at all, read with suspicion.

Several processes may share the folder, and a process may be killed at any moment.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any


def write_whole(path: Path, data: bytes) -> None:
    """Make a file, and its folder, appear complete or not at all. Raises OSError.

    It grows under a name that begins with a dot, which a process that is killed leaves behind.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def read_json(path: Path, max_bytes: int) -> Any:
    """Return what a file holds. Raises OSError, and ValueError for what is no JSON or too long."""
    with path.open("rb") as file:
        text = file.read(max_bytes + 1)
    if len(text) > max_bytes:
        raise ValueError("longer than any that is written")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("deeper than any that is written") from None
