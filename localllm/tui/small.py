"""What is shown where there is no room for anything else."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content
from textual.events import Resize
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.widgets import Static

LEAST = Size(60, 15)
"""Below that panels have no room left for their figures."""


def fits(size: Size) -> bool:
    """Whether the screens can be drawn in a terminal of that size."""
    return size.width >= LEAST.width and size.height >= LEAST.height


class TooSmall(ModalScreen[None]):
    """Lies over everything, takes its keys, and goes once there is room."""

    DEFAULT_CSS = """
    TooSmall {
        align: center middle;
        background: $background;
        & > Static { width: 100%; text-align: center; }
    }
    """

    def compose(self) -> ComposeResult:
        """Yield the sentence."""
        yield Static(self._sentence())

    def on_resize(self, event: Resize) -> None:
        """Say the new size, or go."""
        self._look(event.size)

    def on_screen_resume(self) -> None:
        """Go where the terminal has grown while another place was shown."""
        self._look(self.app.size)

    def _look(self, size: Size) -> None:
        if not fits(size):
            self.query_one(Static).update(self._sentence())
        elif self.app.screen is self:
            self.dismiss()

    def _sentence(self) -> Content:
        has = self.app.size
        need = f"{LEAST.width}x{LEAST.height}"
        return Content(f"This terminal has {has.width}x{has.height}: localllm needs {need}.")
