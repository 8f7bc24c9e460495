"""What the messages of a conversation have in common: they can be focused, copied and left."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message

from localllm.records.entries import Entry
from localllm.tui.chat.one_pass import OnePass


class MessageView(OnePass, Vertical, can_focus=True):
    """One message. Focused, its keys copy it; the arrow keys go on to its neighbours."""

    BINDING_GROUP_TITLE = "A message"
    DEFAULT_CSS = """
    MessageView {
        height: auto;
        width: 1fr;
        padding: 0 1 0 0;
        border-left: blank;
        &:focus { border-left: thick $primary; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "y,c", "copy", "Copy", id="message.copy", tooltip="Copy this message as it was written"
        ),
        Binding(
            "k",
            "copy_code",
            "Copy code",
            id="message.code",
            tooltip="Copy a block of code of this message",
        ),
        Binding("up", "neighbour(-1)", "The one before", show=False, id="message.up"),
        Binding("down", "neighbour(1)", "The next", show=False, id="message.down"),
        Binding(
            "escape",
            "screen.to_prompt",
            "Back to the prompt",
            id="message.leave",
            tooltip="Go back to where one types",
        ),
    ]

    entry: Entry | None = None
    """What it shows, as it is kept; None where it is not, or not yet."""

    class CopyWanted(Message):
        """The person wants the text of a message, or a block of code of it."""

        def __init__(self, text: str, *, code: bool) -> None:
            """Take the message's text."""
            super().__init__()
            self.text, self.code = text, code

    @property
    def text(self) -> str:
        """What was said."""
        raise NotImplementedError

    def action_copy(self) -> None:
        """Tell that its text is wanted."""
        self.post_message(self.CopyWanted(self.text, code=False))

    def action_copy_code(self) -> None:
        """Tell that a block of its code is wanted."""
        self.post_message(self.CopyWanted(self.text, code=True))

    def action_neighbour(self, step: int) -> None:
        """Focus the message before or after this one."""
        views = [child for child in self.siblings_and_self if isinstance(child, MessageView)]
        at = views.index(self) + step
        if 0 <= at < len(views):
            views[at].focus()

    @property
    def siblings_and_self(self) -> list[object]:
        """All that lies in the same conversation, in order."""
        return list(self.parent.children) if self.parent is not None else [self]
