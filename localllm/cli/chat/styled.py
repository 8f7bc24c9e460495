"""Styled text in terminal cells: runs, rows, and greedy wrapping that knows where it came from.

A style is the parameters of an SGR sequence (``"1;36"``), of the terminal's own 16 colours only, so
that it is readable on a light and on a dark background alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import get_character_cell_size

PLAIN = ""
BOLD = "1"
DIM = "2"
ITALIC = "3"
UNDERLINE = "4"
STRIKE = "9"
CYAN = "36"
YELLOW = "33"
RED = "31"
GREEN = "32"


def merge(*styles: str) -> str:
    """Return the styles applied together."""
    return ";".join(s for s in styles if s)


def width_of(text: str) -> int:
    """Return the cells that a text takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(map(get_character_cell_size, text))


@dataclass(frozen=True, slots=True)
class Run:
    """Text in one style; ``source_end`` is where it ends in the text it was made from."""

    text: str
    style: str = PLAIN
    source_end: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the terminal; ``source_end`` as in ``Run``, the space that ended it included."""

    runs: tuple[Run, ...]
    source_end: int = 0

    @property
    def width(self) -> int:
        """Cells taken."""
        return sum(width_of(run.text) for run in self.runs)

    @property
    def plain(self) -> str:
        """The text without its styles."""
        return "".join(run.text for run in self.runs)

    def ansi(self) -> str:
        """The row as the terminal wants it, without a newline."""
        return "".join(paint(run.text, run.style) for run in self.runs)


def paint(text: str, style: str) -> str:
    """Return a text in its style, as escape sequences."""
    return f"\x1b[{style}m{text}\x1b[0m" if style and text else text


def row(*runs: tuple[str, str] | str) -> Row:
    """Make a row from texts and ``(text, style)`` pairs."""
    return Row(tuple(Run(r) if isinstance(r, str) else Run(*r) for r in runs))


def wrap(runs: list[Run], width: int, first: Row, rest: Row) -> list[Row]:
    """Break runs into rows of at most ``width`` cells; ``first`` and ``rest`` are put before them.

    Breaks at spaces and beside wide characters, else within a word that is longer than a row.
    Each run is one character, or text that is not broken; ``source_end`` never decreases.
    """
    rows: list[Row] = []
    prefix, line, used = first, list[Run](), 0
    room = max(4, width - prefix.width)
    end = 0
    for word, cells, is_space in _words(runs):
        if is_space:
            end = word[-1].source_end
            if used + cells <= room:
                line += word
                used += cells
            continue
        if used + cells > room and used > 0:
            rows.append(_finished(prefix, line, end))
            prefix, line, used = rest, [], 0
            room = max(4, width - prefix.width)
        for run in word:
            size = width_of(run.text)
            if used + size > room and used > 0:
                rows.append(_finished(prefix, line, end))
                prefix, line, used = rest, [], 0
                room = max(4, width - prefix.width)
            line.append(run)
            used += size
            end = run.source_end
    rows.append(_finished(prefix, line, end, keep_space=True))
    return rows


def _finished(prefix: Row, line: list[Run], end: int, *, keep_space: bool = False) -> Row:
    while line and not keep_space and line[-1].text == " ":
        line.pop()
    joined: list[Run] = list(prefix.runs)
    start = len(joined)
    for run in line:
        if len(joined) > start and joined[-1].style == run.style:
            joined[-1] = Run(joined[-1].text + run.text, run.style, run.source_end)
        else:
            joined.append(run)
    return Row(tuple(joined), end)


def _words(runs: list[Run]) -> Iterator[tuple[list[Run], int, bool]]:
    """Yield words and stretches of spaces as runs of one character each, with their width."""
    word: list[Run] = []
    cells = 0
    spaces = False
    for run in runs:
        for char in run.text:
            size = 1 if char.isascii() else get_character_cell_size(char)
            is_space = char == " "
            if word and (is_space != spaces or (size > 1 and not is_space)):
                yield word, cells, spaces
                word, cells = [], 0
            spaces = is_space
            word.append(Run(char, run.style, run.source_end))
            cells += size
            if size > 1:
                yield word, cells, False
                word, cells = [], 0
    if word:
        yield word, cells, spaces
