"""What a person has typed before, for the up key: one file for all shells, private to them.

The form is prompt_toolkit's, whose own history the CLI keeps: a comment, then each line after a
plus sign.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

MOST_BYTES = 1024**2
"""No more is read, from the end."""


def read_typed(path: Path, *, most: int = 500) -> tuple[str, ...]:
    """Return what was typed, the oldest first; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MOST_BYTES))
            data = file.read()
    except OSError:
        return ()
    texts: list[str] = []
    lines: list[str] = []
    for line in [*data.decode("utf-8", "replace").split("\n"), ""]:
        if line.startswith("+"):
            lines.append(line[1:])
        elif lines:
            texts.append("\n".join(lines))
            lines = []
    return tuple(texts[-most:])


def append_typed(path: Path, text: str, *, now: datetime) -> None:
    """Add what was typed. Raises OSError."""
    lines = "".join(f"+{line}\n" for line in text.split("\n"))
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(fd, "ab") as file:
        file.write(f"\n# {now}\n{lines}".encode("utf-8", "replace"))
