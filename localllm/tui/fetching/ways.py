"""What a hint for the command line comes to here, where a key does the same."""

from __future__ import annotations

import re

_WAYS = tuple(
    (re.compile(pattern), way)
    for pattern, way in (
        (
            r"(\S+): (.+?) of a download that was stopped are here, and localllm pull"
            r" goes on there\.",
            r"type / and \1, then f goes on: \2 are here.",
        ),
        (r"`?localllm pull [^\s`]+`? (downloads|fetches|gets)\b", r"f \1"),
        (r"`?localllm list`? shows what is here", "F2 shows what is here"),
    )
)


def in_keys(text: str) -> str:
    """Return a sentence with the keys of Models in place of the commands that they stand for."""
    for pattern, way in _WAYS:
        text = pattern.sub(way, text)
    return text
