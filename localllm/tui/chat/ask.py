"""A question that is answered by yes or no; enter and escape mean no."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from localllm.core.text import printable


class AskDialog(ModalScreen[bool]):
    """Its result is whether the person is sure."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes", id="ask.yes", tooltip="Do it"),
        Binding("n,escape", "dismiss(False)", "No", id="ask.no", tooltip="Leave it as it is"),
    ]

    def __init__(self, question: str, *, yes: str, no: str) -> None:
        """Take the question, and what the two answers are called."""
        super().__init__()
        self._question, self._yes, self._no = question, yes, no

    def compose(self) -> ComposeResult:
        """Yield the question and two buttons."""
        with Vertical(classes="chat--dialog"):
            yield Static(Content(printable(self._question)), id="ask-question")
            with Horizontal(classes="chat--buttons"):
                yield Button(f"{self._yes} (y)", id="ask-yes", variant="error", compact=True)
                yield Button(f"{self._no} (n)", id="ask-no", compact=True)

    def on_mount(self) -> None:
        """Let enter mean no."""
        self.query_one("#ask-no", Button).focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.dismiss(event.button.id == "ask-yes")
