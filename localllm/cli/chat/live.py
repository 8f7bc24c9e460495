"""The last rows of the terminal, repainted in place; everything above them is permanent.

No full-screen mode and no scroll region: if this process is killed, the terminal is as good as
before. The cursor rests at the end of the text that is being written.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from typing import TextIO

from localllm.cli.chat.styled import Row

_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""Synchronized output: the terminal shows the whole repaint at once, or ignores these."""


class LiveRegion:
    """Paints permanent rows and, below them, rows that the next painting replaces."""

    def __init__(
        self, stream: TextIO, size: Callable[[], os.terminal_size] = shutil.get_terminal_size
    ) -> None:
        """Take the terminal's stream and where its size comes from."""
        self._stream, self._size = stream, size
        self._widths: list[int] = []
        self._cursor = (0, 0)
        self._below = False

    @property
    def width(self) -> int:
        """Cells for a live row: one less than the terminal has, so that no row wraps by itself."""
        return max(10, self._size().columns - 1)

    def start_below(self) -> None:
        """Leave what is painted where it is: others have written below it. Safe in a handler."""
        self._below = True

    def paint(
        self, final: Sequence[Row], live: Sequence[Row] = (), status: Sequence[Row] = ()
    ) -> None:
        """Add final rows; replace the live ones by ``live`` and ``status``, cut to the screen."""
        columns, lines = self._size()
        room = max(1, lines - 1 - len(status))
        shown = list(live[-room:])
        rows = [*shown, *status]
        out = [_BEGIN, self._back_to_top(max(columns, 2))]
        out += [row.ansi + "\n" for row in final]
        out.append("\n".join(row.ansi for row in rows))
        self._widths = [row.width for row in rows]
        self._cursor = (len(rows) - 1, self._widths[-1]) if rows else (0, 0)
        if shown and status:
            self._cursor = (len(shown) - 1, self._widths[len(shown) - 1])
            out.append(f"\x1b[{len(status)}A\r")
            if self._cursor[1]:
                out.append(f"\x1b[{self._cursor[1]}C")
        out.append(_END)
        self._stream.write("".join(out))
        self._stream.flush()

    def _back_to_top(self, columns: int) -> str:
        """Go to the first live row, also when the terminal has become narrower and wrapped some."""
        if self._below:
            self._below = False
            return "\n"
        row, column = self._cursor
        up = sum(_rows(width, columns) for width in self._widths[:row]) + column // columns
        return "\r" + (f"\x1b[{up}A" if up else "") + "\x1b[J"


def _rows(width: int, columns: int) -> int:
    return max(1, -(-width // columns))
