"""What of a conversation can be copied: the last answer, its code, the whole of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from localllm.records.entries import Transcript, turns_of
from localllm.records.export import markdown
from localllm.talking.markdown import code_blocks
from localllm.tui.chat.pick import Choice

if TYPE_CHECKING:
    from localllm.session import Conversation


def copyable(conversation: Conversation) -> tuple[Choice[str], ...]:
    """Return what can be copied, the last answer first; the newest code before older."""
    turns = turns_of(tuple(conversation.entries))
    answers = [entry.content for entry in turns if entry.role == "assistant"]
    found: list[Choice[str]] = []
    if answers:
        found.append(Choice(answers[-1], "the last answer", _size(answers[-1])))
    for text in reversed(answers):
        found += code_of(text)
    if turns:
        entries = tuple(conversation.entries)
        whole = markdown(Transcript(header=conversation.header, entries=entries))
        found.append(Choice(whole, "the whole conversation, as Markdown", _size(whole)))
    questions = [entry.content for entry in turns if entry.role == "user"]
    if questions:
        found.append(Choice(questions[-1], "the last question", _size(questions[-1])))
    return tuple(found)


def code_of(text: str) -> Iterator[Choice[str]]:
    """Yield the blocks of code of an answer, each by its language and its first line."""
    for block in code_blocks(text):
        code = block.code
        first = next((line.strip() for line in code.splitlines() if line.strip()), "empty")
        n = len(code.splitlines())
        name = f"{block.language or 'code'}, {n} line{'s' * (n != 1)}"
        yield Choice(code, f"code: {name}", first)


def _size(text: str) -> str:
    words = " ".join(text.split())
    start = words if len(words) <= 44 else f"{words[:43]}…"
    return f"{len(text):,} characters · {start}"
