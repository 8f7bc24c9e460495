"""Where a person types: enter sends, several lines are kept, the up key brings back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import Key
from textual.message import Message
from textual.widgets import TextArea


class PromptBox(TextArea):
    """A text of several lines. It decides nothing: it tells what was sent."""

    BINDING_GROUP_TITLE = "The prompt"
    DEFAULT_CSS = """
    PromptBox {
        height: auto;
        min-height: 3;
        max-height: 10;
        border: round $panel-lighten-2;
        border-title-color: $text-muted;
        border-subtitle-color: $text-muted;
        background: $background;
        padding: 0 1;
        &:focus { border: round $primary; border-title-color: $text; }
        &.-editing { border: round $warning; border-title-color: $text-warning; }
        & .text-area--cursor-line { background: $background; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "ctrl+j,shift+enter,alt+enter",
            "newline",
            "New line",
            show=False,
            id="prompt.newline",
            tooltip="Begin a new line; enter sends",
        ),
    ]

    class Sent(Message):
        """Enter was pressed."""

        def __init__(self, text: str) -> None:
            """Take the text as it was typed; empty where nothing was."""
            super().__init__()
            self.text = text

    def __init__(self, *, id: str | None = None) -> None:
        """Begin empty, with nothing typed before."""
        super().__init__(
            id=id,
            soft_wrap=True,
            show_line_numbers=False,
            highlight_cursor_line=False,
            placeholder="Ask something",
        )
        self.cursor_blink = False  # each blink costs a drawing, also while an answer is computed
        self._typed: list[str] = []
        self._at: int | None = None
        """Which of the typed texts is shown; None: what is being typed."""
        self._draft = ""

    def remember(self, *, earlier: Sequence[str] = (), now: Sequence[str] = ()) -> None:
        """Take what was typed, the oldest first, for the up key; each text counts once.

        ``earlier``: before all that is known; ``now``: after it.
        """
        texts = [*earlier, *self._typed, *now]
        self._typed = list(dict.fromkeys(reversed(texts)))[::-1]
        self._at = None

    def put(self, text: str) -> None:
        """Show a text, the cursor at its end."""
        self.load_text(text)
        self.move_cursor(self.document.end)

    def on_key(self, event: Key) -> None:
        """Send on enter, before the text area takes it for a new line."""
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self._at = None
            self.post_message(self.Sent(self.text))

    def action_newline(self) -> None:
        """Begin a new line."""
        self.insert("\n")

    def action_cursor_up(self, select: bool = False) -> None:
        """Go up a line; above the first one, show what was typed before."""
        at_top = self.navigator.is_first_wrapped_line(self.cursor_location)
        if select or not at_top or not self._older():
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        """Go down a line; below the last one, show what was typed later."""
        at_end = self.navigator.is_last_wrapped_line(self.cursor_location)
        if select or not at_end or not self._newer():
            super().action_cursor_down(select)

    def _older(self) -> bool:
        if self._at is None:
            self._draft = self.text
        before = len(self._typed) if self._at is None else self._at
        if before == 0:
            return False
        self._at = before - 1
        self.put(self._typed[self._at])
        return True

    def _newer(self) -> bool:
        if self._at is None:
            return False
        self._at = self._at + 1 if self._at + 1 < len(self._typed) else None
        self.put(self._draft if self._at is None else self._typed[self._at])
        return True
