"""A line in a conversation that nobody said: what was loaded, what changed, what went wrong."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from localllm.core.text import printable


class Remark(Static):
    """A sentence of the program."""

    DEFAULT_CSS = """
    Remark {
        height: auto;
        margin: 1 0 0 0;
        padding: 0 2;
        color: $text-muted;
    }
    """

    def __init__(self, text: str) -> None:
        """Take the sentence."""
        super().__init__(Content(printable(text)))
        self.text = text
