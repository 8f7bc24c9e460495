"""A widget that draws a plan: lines from a pure function, made anew for each plan and width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.content import Content
from textual.geometry import Size
from textual.reactive import reactive
from textual.widget import Widget

from localllm.core.plan import Plan
from localllm.tui.plan.marks import MUTED

Lines = Sequence[Content]


class Drawn(Widget):
    """As many lines as its plan takes at its width; nothing without a plan."""

    DEFAULT_CSS = """
    Drawn { height: auto; width: 1fr; }
    """

    plan: reactive[Plan | None] = reactive(None)

    def __init__(
        self, plan: Plan | None = None, *, id: str | None = None, classes: str | None = None
    ) -> None:
        """Take the plan to draw; another may be assigned at any time."""
        super().__init__(id=id, classes=classes)
        self.set_reactive(Drawn.plan, plan)

    def watch_plan(self) -> None:
        """Draw the new plan."""
        self.fit()

    def fit(self) -> None:
        """Draw anew; the screen is laid out anew only where that takes another number of rows.

        A layout takes some 20 ms: a plan that follows a finger cannot afford one for each widget.
        """
        width, height = self.content_size
        self.refresh(layout=width < 1 or len(self._drawn(width)) != height)

    @property
    def shades(self) -> bool:
        """Whether colours come in several strengths here, see ``marks.Mark``."""
        return not self.app.native_ansi_color

    def lines(self, plan: Plan, width: int) -> Lines:
        """Return what is drawn ``width`` cells wide."""
        raise NotImplementedError

    def render(self) -> Content:
        """Draw it at the width that the widget has now."""
        return Content("\n").join(self._drawn(self.content_size.width))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many rows as there are lines at this width."""
        return len(self._drawn(width))

    def _drawn(self, width: int) -> Lines:
        return () if self.plan is None or width < 1 else self.lines(self.plan, width)


def flowed(pieces: Iterable[Content], width: int, *, gap: str = "  ") -> list[Content]:
    """Return pieces side by side, as many to a line as fit; none is broken unless it must be."""
    lines: list[Content] = []
    for piece in pieces:
        if lines and lines[-1].cell_length + len(gap) + piece.cell_length <= width:
            lines[-1] = Content.assemble(lines[-1], (gap, MUTED), piece)
        else:
            lines += piece.wrap(width) if piece.cell_length > width else [piece]
    return lines
