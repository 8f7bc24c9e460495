"""The Chat place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.widget import Widget

from localllm.tui.looks import Panel
from localllm.tui.messages import Place
from localllm.tui.place import PlaceScreen


class ChatScreen(PlaceScreen):
    """Work in progress."""

    PLACE: ClassVar[Place] = "chat"

    def compose_place(self) -> Iterable[Widget]:
        """Yield the panels."""
        yield Panel(title="Chat", empty="Nothing here yet.")
