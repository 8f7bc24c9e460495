"""The reasoning before an answer, folded, with how long it took."""

from __future__ import annotations

from textual import on
from textual.content import Content
from textual.widgets import Collapsible, Static

from localllm.words.answers import thought_words

_DRAW_S = 0.25
_TAIL = 4000
"""Characters drawn while it is thought: all of it only once it is complete."""


class Thought(Collapsible):
    """Folded; it is drawn while it comes only where somebody has opened it."""

    DEFAULT_CSS = """
    Thought {
        height: auto;
        border: none;
        padding: 0;
        background: $background;
        & > CollapsibleTitle { color: $text-muted; padding: 0 1; text-style: italic; }
        & > Contents { padding: 0 1 1 3; color: $text-muted; }
    }
    """

    def __init__(self, *, expanded: bool = False) -> None:
        """Begin empty."""
        self._text = Static(markup=False)
        super().__init__(self._text, title="thinking", collapsed=not expanded)
        self._pieces: list[str] = []
        self._first_s: float | None = None
        self._last_s = 0.0
        self._before = 0
        self._complete = False
        self._drawn_s = float("-inf")
        self.n_tokens = 0

    def set_whole(self, text: str) -> None:
        """Take reasoning of an earlier answer; how long it took is not kept."""
        self._pieces = [text]
        self._complete = True
        self.title = "reasoning"
        self._text.update(Content(text.strip()))

    def add(self, text: str, *, n_tokens: int, now_s: float) -> None:
        """Take more of it. ``n_tokens``: generated so far."""
        if self._first_s is None:
            self._first_s, self._before = now_s, n_tokens - 1
        self._last_s = now_s
        self.n_tokens = n_tokens - self._before
        self._pieces.append(text)

    def draw(self, now_s: float, *, now: bool = False) -> None:
        """Draw what has come, a few times a second."""
        if self._complete or not self._pieces or (now_s - self._drawn_s < _DRAW_S and not now):
            return
        self._drawn_s = now_s
        self.title = f"thinking · {self._took()}"
        if not self.collapsed:
            self._draw_text()

    def fold(self, *, keep_open: bool) -> None:
        """End it: folded, unless it is to stay open."""
        if self._complete or not self._pieces:
            return
        self._complete = True
        self.title = f"thought for {self._took()}"
        self._draw_text()
        if not keep_open:
            self.collapsed = True

    @on(Collapsible.Toggled)
    def _toggled(self) -> None:
        if not self.collapsed:
            self._draw_text()

    def _draw_text(self) -> None:
        text = "".join(self._pieces)
        if not self._complete and len(text) > _TAIL:
            text = f"…{text[-_TAIL:]}"
        self._text.update(Content(text.strip()))

    def _took(self) -> str:
        return thought_words(self._last_s - (self._first_s or 0.0), self.n_tokens)
