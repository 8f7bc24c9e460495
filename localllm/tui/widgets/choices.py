"""One of a few words in a row: ``(•) quick  ( ) standard``. The mark says which, not a colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

_GAP = "  "


class Choices(Widget, can_focus=True):
    """A row of words of which one is chosen."""

    DEFAULT_CSS = """
    Choices {
        width: auto;
        height: 1;
        &:focus { background: $boost; text-style: bold; }
        &:disabled { color: $text-muted; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "step(1)", "Next", show=False, tooltip="Choose the next"),
        Binding("left", "step(-1)", "Before", show=False, tooltip="Choose the one before"),
    ]

    value: reactive[str] = reactive("", layout=True)

    class Changed(Message):
        """The person chose another."""

        def __init__(self, choices: Choices, value: str) -> None:
            """Take what was chosen."""
            super().__init__()
            self.choices, self.value = choices, value

        @property
        def control(self) -> Choices:
            """The row, for selectors."""
            return self.choices

    def __init__(self, words: Sequence[str], *, value: str, id: str | None = None) -> None:
        """Take the words, and the one that is chosen first."""
        super().__init__(id=id)
        self._words = tuple(words)
        self.set_reactive(Choices.value, value)

    def render(self) -> Content:
        """Return the row."""
        return Content(_GAP.join(self._label(word) for word in self._words))

    def action_step(self, steps: int) -> None:
        """Choose a neighbour, round the ends."""
        index = (self._words.index(self.value) + steps) % len(self._words)
        self._choose(self._words[index])

    def on_click(self, event: Click) -> None:
        """Choose the word under the pointer."""
        event.stop()
        start = 0
        for word in self._words:
            end = start + len(self._label(word))
            if start <= event.x < end + len(_GAP):
                self._choose(word)
                return
            start = end + len(_GAP)

    def get_content_width(self, container: object, viewport: object) -> int:
        """Return the width of the row."""
        return len(_GAP.join(self._label(word) for word in self._words))

    def _label(self, word: str) -> str:
        return f"({'•' if word == self.value else ' '}) {word}"

    def _choose(self, word: str) -> None:
        if word != self.value:
            self.value = word
            self.post_message(self.Changed(self, word))
