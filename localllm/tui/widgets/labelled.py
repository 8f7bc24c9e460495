"""Labelled lines: labels in one column, their text wrapped beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.geometry import Size
from textual.reactive import reactive
from textual.widget import Widget

Drawn = Content | Callable[[int], Content]
"""A line; or what draws one for so many cells, such as a bar with its caption."""

_GAP = 2
_LEAST_TEXT = 20
"""Cells: where the labels leave less, the text goes below them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing and what is said of it."""

    label: Content
    lines: tuple[Drawn, ...]
    apart: bool = False
    """An empty line stands before it, unless it is the first."""


class Labelled(Widget):
    """Rows, as high as they need to be."""

    DEFAULT_CSS = """
    Labelled { height: auto; width: 1fr; }
    """

    rows: reactive[tuple[Row, ...]] = reactive[tuple[Row, ...]](())

    def __init__(self, rows: Sequence[Row] = (), *, id: str | None = None) -> None:
        """Take the first rows; ``rows`` may be set anew."""
        super().__init__(id=id)
        self.set_reactive(Labelled.rows, tuple(rows))

    def watch_rows(self, rows: tuple[Row, ...]) -> None:
        """Have everything laid out anew where the height changes, and only there."""
        if _height(rows, self.size.width) != self.size.height:
            self.refresh(layout=True)

    def render(self) -> Content:
        """Return the rows, wrapped to the width."""
        return Content("\n").join(laid_out(self.rows, self.size.width))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return how many lines the rows take."""
        return _height(self.rows, width)


def _height(rows: Sequence[Row], width: int) -> int:
    return sum(1 for _ in laid_out(rows, width))


def laid_out(rows: Sequence[Row], width: int) -> Iterator[Content]:
    """Yield the lines of rows, none wider than ``width`` cells."""
    if width <= 0:
        return
    labels = max((row.label.cell_length for row in rows), default=0)
    indent = labels + _GAP if labels else 0
    below = width - indent < _LEAST_TEXT
    for index, row in enumerate(rows):
        if row.apart and index:
            yield Content("")
        text_width = max(width - (_GAP if below else indent), 1)
        lines = [
            part
            for line in row.lines
            for part in (line(text_width) if callable(line) else line).wrap(text_width)
        ]
        if below:
            yield row.label
            yield from (line.pad_left(_GAP) for line in lines)
            continue
        for n, line in enumerate(lines or [Content("")]):
            label = Content("") if n else row.label
            yield Content.assemble(label, " " * (indent - label.cell_length), line)
