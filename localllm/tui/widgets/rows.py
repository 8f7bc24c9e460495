"""Rows of text that change often and little: only those that differ are drawn anew."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.geometry import Region, Size
from textual.widget import Widget


class RowsView(Widget):
    """Rows, each at most as wide as the widget; as high as they are many."""

    DEFAULT_CSS = """
    RowsView { width: 1fr; height: auto; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        """Begin without rows."""
        super().__init__(id=id)
        self._rows: tuple[Content, ...] = ()

    def show(self, rows: Sequence[Content]) -> None:
        """Show other rows; what is the same is left as it is."""
        before, self._rows = self._rows, tuple(rows)
        if len(before) != len(rows):
            self.refresh(layout=True)
            return
        pairs = enumerate(zip(before, rows, strict=True))
        changed = [y for y, (old, new) in pairs if not old.is_same(new)]
        if changed:
            width = self.size.width
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def render(self) -> Content:
        """Return the rows."""
        return Content("\n").join(self._rows)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return how many rows there are."""
        return len(self._rows)
