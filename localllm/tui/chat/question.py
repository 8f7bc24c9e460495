"""A question, as it was typed."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from localllm.core.text import safe
from localllm.tui.chat.message import MessageView


class QuestionView(MessageView):
    """What the person said."""

    DEFAULT_CSS = """
    QuestionView {
        margin: 1 0 0 0;
        border-left: outer $accent;
        padding: 0 1;
        & > Static { height: auto; color: $text-accent; text-style: bold; }
    }
    """

    def __init__(self, text: str) -> None:
        """Take what was typed."""
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Yield the text."""
        yield Static(Content(safe(self._text)))

    @property
    def text(self) -> str:
        """What was typed."""
        return self._text
