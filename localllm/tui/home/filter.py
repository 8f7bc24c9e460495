"""The line in which a list is narrowed down, or a name is typed that is to be looked up."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Input

PLACEHOLDER = "/ filter: a name, Q4_K_M, fits, here; or user/repo, a path, an address"


class FilterInput(Input):
    """An input that Down leaves for the list, and Escape empties."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "screen.to_list", "List", id="filter.list", tooltip="Go to the list"),
        Binding(
            "escape",
            "screen.clear_filter",
            "Clear",
            id="filter.clear",
            tooltip="Show all models again",
        ),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        """Begin empty."""
        super().__init__(placeholder=PLACEHOLDER, compact=True, id=id, select_on_focus=False)
        self._taken_to: int | None = None
        """Where in the text the next character goes that was typed elsewhere."""

    def take(self, character: str) -> None:
        """Take the focus, and what was typed elsewhere.

        It goes before what was typed here meanwhile: keys on their way when the focus moves come
        by two ways.
        """
        at = len(self.value) if self._taken_to is None else self._taken_to
        self.screen.set_focus(self)
        self._taken_to = at + len(character)
        cursor = self.cursor_position
        self.value = f"{self.value[:at]}{character}{self.value[at:]}"
        self.cursor_position = self._taken_to if cursor <= at else cursor + len(character)

    def on_blur(self) -> None:
        """Begin at the end, the next time that something is typed elsewhere."""
        self._taken_to = None
