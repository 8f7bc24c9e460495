"""What has come of an answer, in one widget while it grows: drawn in a few milliseconds.

While somebody follows its end it is no higher than what they see, and shows its last rows: the
screen then need not be laid out for every row that comes.
"""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.style import Style
from textual.visual import Visual
from textual.widget import Widget

from localllm.tui.chat.one_pass import OnePass
from localllm.tui.chat.rows import Block

ROOM = 3
"""Rows by which it grows at once, as long as it does: each time the screen is laid out."""
_EMPTY = Content("")
_MOST_STRIPS = 500


class OpenEnd(OnePass, Widget):
    """Blocks that have come, and the one that comes."""

    DEFAULT_CSS = """
    OpenEnd { width: 1fr; height: auto; }
    """

    def __init__(self) -> None:
        """Show nothing yet."""
        super().__init__()
        self._blocks: list[Block] = []
        self._coming: Block | None = None
        self._width = 0
        self._done: list[Content] = []
        """The rows of the complete blocks at that width, with an empty one below."""
        self._rows: list[Content] = []
        """All rows at that width."""
        self._most: int | None = None
        self._strips: dict[int, tuple[Content, Style, Strip]] = {}

    def show(self, come: Iterable[Block], coming: Block | None, *, most: int | None) -> None:
        """Show more: blocks that are complete now, and the next one as far as it is.

        ``most``: rows that are seen where its end is followed; None: show all.
        """
        before, height = self._seen(self.size.height), self._height()
        for block in come:
            self._blocks.append(block)
            _add(self._done, block, self._width)
        self._coming, self._most = coming, most
        self._join()
        if self._height() != height:
            self.refresh(layout=True)
            return
        after = self._seen(self.size.height)
        changed = [
            y
            for y, (old, new) in enumerate(zip(before, after, strict=True))
            if old is not new and not old.is_same(new)
        ]
        if changed:
            n_rows = changed[-1] - changed[0] + 1
            self.refresh(Region(0, changed[0], self.size.width, n_rows))

    def show_all(self) -> None:
        """Show all rows, for somebody who looks back."""
        self._most = None
        self.refresh(layout=True)

    @property
    def n_hidden(self) -> int:
        """How many rows are above what is shown."""
        return 0 if self._most is None else max(len(self._rows) - self.size.height, 0)

    def render_line(self, y: int) -> Strip:
        """Return one row."""
        width, style = self.size.width, self.visual_style
        self._wrap(width)
        row = self._seen(self.size.height)[y]
        known = self._strips.get(id(row))
        if known is None or known[0] is not row or known[1] != style:
            if len(self._strips) > _MOST_STRIPS:
                self._strips.clear()
            strip = Visual.to_strips(self, row, width, 1, style)[0]
            known = self._strips[id(row)] = row, style, strip
        return known[2]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return the rows, and room for some more."""
        self._wrap(width)
        return self._height()

    def _height(self) -> int:
        n_rows = -(-len(self._rows) // ROOM) * ROOM
        return n_rows if self._most is None else min(n_rows, self._most)

    def _seen(self, height: int) -> list[Content]:
        """Return the rows that are shown, as many as are asked for."""
        first = 0 if self._most is None else max(len(self._rows) - height, 0)
        rows = self._rows[first : first + height]
        return rows + [_EMPTY] * (height - len(rows))

    def _wrap(self, width: int) -> None:
        """Bring all rows to a width."""
        if width != self._width:
            self._width, self._done = width, []
            for block in self._blocks:
                _add(self._done, block, width)
            self._join()

    def _join(self) -> None:
        self._rows = self._done.copy()
        if self._coming is not None:
            _add(self._rows, self._coming, self._width)
        if self._rows:
            self._rows.pop()  # nothing stands below


def _add(rows: list[Content], block: Block, width: int) -> None:
    """Add a block's rows, and an empty one below."""
    rows += [_EMPTY] * (block.above - bool(rows))
    rows += block.rows(width)
    rows.append(_EMPTY)
