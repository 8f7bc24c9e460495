"""The line that a knob's value is written in."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input


class Entry(Input):
    """Out of sight until it is opened; what its keys do is for the footer to say."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Set it", id="plan.set"),
        Binding("escape", "leave", "Leave it", id="plan.leave"),
    ]

    class Left(Message):
        """Somebody wants no other value."""

    def __init__(self, *, left: int, width: int) -> None:
        """Take the first column, and how many there are.

        What was written before it has the focus is not selected by that.
        """
        super().__init__(compact=True, select_on_focus=False)
        self.display = False
        self.styles.offset = (left, 0)
        self.styles.width = width

    def allow_focus(self) -> bool:
        """Take the focus only while it is open."""
        return self.display

    def action_leave(self) -> None:
        """Tell that the value stays."""
        self.post_message(self.Left())
