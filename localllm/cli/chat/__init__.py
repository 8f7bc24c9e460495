"""``localllm chat``. ``main`` imports this only when the command is called."""

from __future__ import annotations

from localllm.cli.chat.command import chat

__all__ = ["chat"]
