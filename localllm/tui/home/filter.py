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

    def take(self, character: str) -> None:
        """Take what was typed elsewhere, at the end."""
        self.value += character
        self.cursor_position = len(self.value)
        self.focus()
