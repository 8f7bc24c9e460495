"""Words looked for in what was said: every one of them somewhere in a conversation, in any case."""

from __future__ import annotations

import json
from collections.abc import Sequence

from localllm.records.entries import Transcript, turns_of

_BEFORE, _AFTER = 24, 60
"""Characters of an excerpt around the first word that was looked for."""


def words_of(query: str) -> tuple[str, ...]:
    """Return the words that a person typed, as they are compared."""
    return tuple(query.casefold().split())


def may_hold(data: bytes, words: Sequence[str]) -> bool:
    """Whether a file can hold all words: false is certain, and found without reading its lines."""
    if b"\\u" in data:  # escaped by another program: what it says shows only when it is read
        return True
    text = data.decode("utf-8", "replace").casefold()
    return all(json.dumps(word, ensure_ascii=False)[1:-1] in text for word in words)


def excerpt(transcript: Transcript, words: Sequence[str]) -> str | None:
    """Return what was said around the first word, in one line; None unless all words were said.

    What was replaced by another answer or question does not count, nor does reasoning.
    """
    said = [" ".join(entry.content.split()) for entry in turns_of(transcript.entries)]
    folded = [text.casefold() for text in said]
    if not words or not all(any(word in text for text in folded) for word in words):
        return None
    text, low = next((text, low) for text, low in zip(said, folded, strict=True) if words[0] in low)
    at = low.index(words[0])
    if len(low) != len(text):  # folding made it longer: the place is not the same
        at = min(at, len(text))
    begin, end = max(0, at - _BEFORE), at + len(words[0]) + _AFTER
    return f"{'…' * (begin > 0)}{text[begin:end].strip()}{'…' * (end < len(text))}"
