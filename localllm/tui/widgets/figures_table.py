"""A table of figures: a heading, the first column to the left, figures to the right."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.geometry import Size
from textual.reactive import reactive
from textual.widget import Widget

_GAP = 2


class FiguresTable(Widget):
    """Cells of text, as wide as they need to be: put it where it can be scrolled."""

    DEFAULT_CSS = """
    FiguresTable { width: auto; height: auto; }
    """

    rows: reactive[tuple[tuple[str, ...], ...]] = reactive[tuple[tuple[str, ...], ...]](
        (), layout=True
    )

    def __init__(
        self, head: Sequence[str], *, words: Sequence[int] = (0,), id: str | None = None
    ) -> None:
        """Take the headings, and which columns are words and not figures."""
        super().__init__(id=id)
        self._head, self._words = tuple(head), frozenset(words)

    def render(self) -> Content:
        """Return the heading and the rows."""
        widths = self._widths()
        lines = [
            Content.styled(self._line(self._head, widths), "bold $text-muted"),
            *(Content(self._line(row, widths)) for row in self.rows),
        ]
        return Content("\n").join(lines)

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """Return the width of the widest line."""
        return sum(self._widths()) + _GAP * (len(self._head) - 1)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return a line for each row, and one for the heading."""
        return len(self.rows) + 1

    def _widths(self) -> list[int]:
        columns = zip(self._head, *self.rows, strict=True)
        return [max(Content(cell).cell_length for cell in column) for column in columns]

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        padded = []
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            blanks = " " * (width - Content(cell).cell_length)
            padded.append(cell + blanks if index in self._words else blanks + cell)
        return (" " * _GAP).join(padded).rstrip()
