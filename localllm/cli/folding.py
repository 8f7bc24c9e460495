"""Tables whose columns fold away in a stated order where the terminal is narrow.

What is left out is named, so that nothing is cut silently; the same columns make a GitHub table,
which has all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localllm.core.text import printable

if TYPE_CHECKING:
    from rich.table import Table

GAP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: its heading, its cells, and when it gives way."""

    heading: str
    cells: tuple[str, ...]
    folds: int | None = None
    """The lowest is left out first; None: never."""
    right: bool = False
    bold: bool = False

    @property
    def width(self) -> int:
        """Characters of the widest cell."""
        return max(map(len, (self.heading, *self.cells)))


def fold(columns: Sequence[Column], width: int) -> tuple[list[Column], list[Column]]:
    """Return the columns that fit into a width, and those left out, the first to go first."""
    kept, left_out = list(columns), list[Column]()
    for column in sorted((c for c in columns if c.folds is not None), key=lambda c: c.folds or 0):
        if sum(c.width + GAP for c in kept) - GAP <= width:
            break
        kept.remove(column)
        left_out.append(column)
    return kept, left_out


def table(columns: Sequence[Column], *, dim_rows: frozenset[int] = frozenset()) -> Table:
    """Return the columns as a table; cells too long for their column are wrapped, never cut."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(
            Text(column.heading),
            justify="right" if column.right else "left",
            style="bold" if column.bold else "",
            overflow="fold",
        )
    for index in range(len(columns[0].cells)):
        drawn.add_row(
            *(Text(printable(column.cells[index])) for column in columns),
            style="dim" if index in dim_rows else "",
        )
    return drawn


def markdown(columns: Sequence[Column]) -> str:
    """Return the columns as a GitHub table."""
    lines = [
        _line([column.heading for column in columns]),
        _line(["---:" if column.right else ":---" for column in columns], plain=True),
    ]
    lines += [_line([c.cells[i] for c in columns]) for i in range(len(columns[0].cells))]
    return "\n".join(lines)


def markdown_text(text: str) -> str:
    """Return a text with what Markdown and HTML would read in it made harmless."""
    text = " ".join(printable(text).split())
    for character in "\\`*_[]|":
        text = text.replace(character, f"\\{character}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _line(cells: Sequence[str], *, plain: bool = False) -> str:
    return f"| {' | '.join(cell if plain else markdown_text(cell) for cell in cells)} |"
