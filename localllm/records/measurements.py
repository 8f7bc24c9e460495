"""The store of own measurements: one JSON Lines file, to which every line is one write.

Several processes may append at once. A crash or a full disk can only tear a line, which is skipped
when the file is read. Past ``MOST`` lines the newest ``KEPT`` are written anew in one step; a line
that another process appends in that very moment may be lost, which costs one measurement.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from localllm.records.measured import Measurement, measurement_line, parse_line
from localllm.records.state import private_dir

VARIABLE = "LOCALLLM_MEASUREMENTS"
"""``off`` keeps nothing and uses nothing that was kept."""

KEPT = 2000
MOST = 4000

_SHORTEST_LINE = 400
_MOST_BYTES = 8 * 1024**2
"""No more is read of a file, from its end, whatever it holds."""


def measurements_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether measurements are kept and used."""
    return environ.get(VARIABLE, "").strip().lower() not in ("off", "0", "no", "false")


class MeasurementStore:
    """The measurements in one file, which need not exist."""

    def __init__(self, path: Path) -> None:
        """Take the file; it is made with the first measurement."""
        self.path = path

    def keep(self, measurements: Iterable[Measurement]) -> None:
        """Append measurements, each with one write. Raises OSError."""
        lines = [measurement_line(one).encode("utf-8", "replace") for one in measurements]
        if not lines:
            return
        private_dir(self.path.parent)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        fd = os.open(self.path, flags | getattr(os, "O_BINARY", 0), 0o600)
        try:
            size = os.fstat(fd).st_size
            if size and os.lseek(fd, size - 1, os.SEEK_SET) >= 0 and os.read(fd, 1) != b"\n":
                lines[0] = b"\n" + lines[0]  # a torn line must not swallow the next one
            for line in lines:
                _write(fd, line + b"\n")
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        if size > MOST * _SHORTEST_LINE:
            self._shorten()

    def read(self) -> tuple[Measurement, ...]:
        """Return what can be read, the oldest first; nothing without a file. Raises OSError."""
        return tuple(one for one in map(parse_line, self._lines()) if one is not None)

    def _lines(self) -> list[bytes]:
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                start = max(0, size - _MOST_BYTES)
                file.seek(start)
                lines = file.read(_MOST_BYTES).split(b"\n")
        except FileNotFoundError:
            return []
        return [line for line in (lines[1:] if start else lines) if line]

    def _shorten(self) -> None:
        """Leave the newest ``KEPT`` lines that can be read, where there are more than ``MOST``."""
        lines = self._lines()
        if len(lines) <= MOST and self.path.stat().st_size <= _MOST_BYTES:
            return
        readable = [line for line in lines if parse_line(line) is not None][-KEPT:]
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.writelines(line + b"\n" for line in readable)
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)


def _write(fd: int, line: bytes) -> None:
    """Write a line at once, so that lines of several processes do not mix. Raises OSError."""
    if os.write(fd, line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
