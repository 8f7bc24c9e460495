"""Curves in a widget, as wide and as high as it is."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from localllm.tui.widgets.plot import Curve, plotted


class Chart(Widget):
    """Draws its curves; empty where it has none or no room."""

    DEFAULT_CSS = """
    Chart { height: 10; width: 1fr; }
    """

    curves: reactive[tuple[Curve, ...]] = reactive(())

    def __init__(self, *, x_words: str, id: str | None = None) -> None:
        """Take what is on the horizontal axis."""
        super().__init__(id=id)
        self._x_words = x_words

    def render(self) -> Content:
        """Return the drawing."""
        lines = plotted(
            self.curves, width=self.size.width, height=self.size.height, x_words=self._x_words
        )
        return Content("\n").join(
            Content.assemble(*((span.text, span.style or "$text-muted") for span in line))
            for line in lines
        )
