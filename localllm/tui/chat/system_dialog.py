"""Where the system prompt is changed."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.getters import query_one
from textual.screen import ModalScreen
from textual.widgets import Button, Static, TextArea


class SystemDialog(ModalScreen[str | None]):
    """Its result is the new prompt, empty for none; None where the person left."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "keep", "Use it", priority=True, id="system.keep", tooltip="From now on"),
        Binding("escape", "dismiss(None)", "Leave", id="system.leave", tooltip="Change nothing"),
    ]

    text = query_one(TextArea)

    def __init__(self, text: str) -> None:
        """Take the prompt in force."""
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Yield the text and its buttons."""
        with Vertical(classes="chat--dialog") as box:
            box.border_title = "System prompt"
            yield Static("What the model is told before all that is said.", classes="chat--said")
            yield TextArea(
                self._text, compact=True, soft_wrap=True, placeholder="There is no system prompt."
            )
            with Horizontal(classes="chat--buttons"):
                yield Button("Use it (ctrl+s)", id="system-keep", variant="primary", compact=True)
                yield Button("None", id="system-none", compact=True)
                yield Button("Leave (escape)", id="system-leave", compact=True)

    def on_mount(self) -> None:
        """Begin to type at the end."""
        self.text.focus()
        self.text.move_cursor(self.text.document.end)

    def action_keep(self) -> None:
        """Use what is typed."""
        self.dismiss(self.text.text.strip())

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "system-keep":
            self.action_keep()
        else:
            self.dismiss("" if event.button.id == "system-none" else None)
