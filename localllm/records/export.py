"""A conversation as a file for people (Markdown) or for ``/load`` (JSON Lines), and back."""

from __future__ import annotations

import os
from pathlib import Path

from localllm.errors import LocalLLMError, NotFoundError
from localllm.records.conversations import Conversation
from localllm.records.entries import Entry, Transcript, entry_line, header_line, parse

CUT = {
    "cancelled": "stopped by the user",
    "length": "cut at the token limit",
    "context_full": "cut: the context was full",
    "died": "cut: the engine died",
    "failed": "cut by an error",
}
"""Why an answer is not whole, by its ``finish_reason``."""


def save(conversation: Conversation, path: Path) -> None:
    """Write a conversation, as JSON Lines where the name ends so, else as Markdown.

    An existing file is replaced as a whole. Raises OSError.
    """
    header, entries = conversation.header, tuple(conversation.entries)
    if path.suffix.lower() == ".jsonl":
        text = "".join(
            line + "\n" for line in (header_line(header), *(entry_line(e) for e in entries))
        )
    else:
        text = markdown(Transcript(header=header, entries=entries))
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8", errors="replace")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path) -> Transcript:
    """Read a conversation saved as JSON Lines.

    Raises NotFoundError (exit 5) without it, IntegrityError (7) when it is something else.
    """
    try:
        return parse(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no file {path}.") from error
    except OSError as error:
        raise LocalLLMError(f"{path} cannot be read: {error.strerror}.") from error


def markdown(transcript: Transcript) -> str:
    """Return a conversation as Markdown. Replaced answers are left out, reasoning is folded."""
    header = transcript.header
    parts = [f"# Conversation with {header.model}\n\n{header.created} · {header.id}\n"]
    if header.system:
        parts.append(_section("System", header.system))
    for entry in _final(transcript.entries):
        if entry.role == "user":
            parts.append(_section("You", entry.content))
        elif entry.role == "system":
            parts.append(_section("System", entry.content or "(no system prompt from here on)"))
        else:
            parts.append(_section(entry.model or "Model", _answer(entry)))
    return "\n".join(parts)


def _final(entries: tuple[Entry, ...]) -> list[Entry]:
    kept: list[Entry] = []
    for entry in entries:
        if entry.replaces_last and entry.role == "user":
            asked = max((n for n, one in enumerate(kept) if one.role == "user"), default=len(kept))
            kept = [*kept[:asked], *(one for one in kept[asked:] if one.role == "system")]
        elif entry.replaces_last and kept and kept[-1].role == "assistant":
            kept.pop()
        kept.append(entry)
    return kept


def _answer(entry: Entry) -> str:
    text = entry.content.strip()
    if entry.reasoning:
        thought = entry.reasoning.strip()
        text = f"<details><summary>Reasoning</summary>\n\n{thought}\n\n</details>\n\n{text}"
    if entry.finish_reason in CUT:
        text += f"\n\n*({CUT[entry.finish_reason]})*"
    return text


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text.strip()}\n"
