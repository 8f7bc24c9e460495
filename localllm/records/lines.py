"""A file of lines that only grows: one write a line, torn lines harmless, bounded in size.

Several processes may append at once. A crash or a full disk can only tear a line, which is left out
when the file is read. Past ``most`` lines the newest ``kept`` are written anew in one step; a line
that another process appends in that very moment may be lost, which costs one line.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from localllm.records.state import private_dir

MOST_BYTES = 8 * 1024**2
"""No more is read of a file, from its end, whatever it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long a file may become."""

    kept: int = 2000
    """Lines that stay when it is shortened."""
    most: int = 4000
    """Lines from which on it is."""
    shortest_line: int
    """Bytes of the shortest line that is written: below ``most`` of these nobody need count."""


class LineFile:
    """The lines of one file, which need not exist; private to its owner."""

    def __init__(self, path: Path, bounds: Bounds, *, is_readable: Callable[[bytes], bool]) -> None:
        """Take the file, made with its first line, and what tells a line worth keeping."""
        self.path = path
        self._bounds = bounds
        self._is_readable = is_readable

    def append(self, lines: Sequence[str]) -> None:
        """Write lines without their newlines, each with one write. Raises OSError."""
        if not lines:
            return
        whole = [line.encode("utf-8", "replace") + b"\n" for line in lines]
        private_dir(self.path.parent)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        fd = os.open(self.path, flags | getattr(os, "O_BINARY", 0), 0o600)
        try:
            size = os.fstat(fd).st_size
            if size and os.lseek(fd, size - 1, os.SEEK_SET) >= 0 and os.read(fd, 1) != b"\n":
                whole[0] = b"\n" + whole[0]  # a torn line must not swallow the next one
            for line in whole:
                _write(fd, line)
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        if size > self._bounds.most * self._bounds.shortest_line:
            self._shorten()

    def read(self) -> list[bytes]:
        """Return the lines, the oldest first; none without a file. Raises OSError."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                start = max(0, size - MOST_BYTES)
                file.seek(start)
                lines = file.read(MOST_BYTES).split(b"\n")  # JSON strings may hold U+2028
        except FileNotFoundError:
            return []
        return [line for line in (lines[1:] if start else lines) if line]

    def _shorten(self) -> None:
        """Leave the newest lines that can be read, where there are more than ``most``."""
        lines = self.read()
        if len(lines) <= self._bounds.most and self.path.stat().st_size <= MOST_BYTES:
            return
        readable = [line for line in lines if self._is_readable(line)][-self._bounds.kept :]
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.writelines(line + b"\n" for line in readable)
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)


def count_lines(path: Path) -> int:
    """Return how many lines a file has. Raises OSError."""
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())


def _write(fd: int, line: bytes) -> None:
    """Write a line at once, so that lines of several processes do not mix. Raises OSError."""
    if os.write(fd, line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
