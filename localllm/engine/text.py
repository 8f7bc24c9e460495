"""From bytes to text that may be shown: incremental UTF-8, and stop strings across token borders.
Pure.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class Utf8:
    """Decodes a stream; bytes that never form a character become U+FFFD at once, not at the end."""

    def __init__(self) -> None:
        """Start between two characters."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.between = True
        """No character is unfinished: what is whole by itself needs no decoder."""

    def feed(self, piece: bytes) -> str:
        """Return the characters that are complete."""
        text = self._decoder.decode(piece)
        self.between = not self._decoder.getstate()[0]
        return text

    def finish(self) -> str:
        """Return what an unfinished character becomes."""
        return self._decoder.decode(b"", final=True)


def held_back(text: str, patterns: Sequence[str]) -> int:
    """Return the length of the longest end of ``text`` that could grow into one of ``patterns``."""
    longest = min(len(text), max((len(pattern) for pattern in patterns), default=1) - 1)
    for length in range(longest, 0, -1):
        tail = text[-length:]
        if any(pattern.startswith(tail) for pattern in patterns):
            return length
    return 0


class StopStrings:
    """Passes text on until a stop string appears, which is swallowed."""

    def __init__(self, strings: Sequence[str]) -> None:
        """Watch for any of ``strings``; empty ones are ignored."""
        self._strings = tuple(string for string in strings if string)
        self._held = ""
        self.hit: str | None = None
        """The stop string that was found."""

    def feed(self, text: str) -> str:
        """Return the text that cannot be part of a stop string any more."""
        if not self._strings or self.hit is not None:
            return text if self.hit is None else ""
        text = self._held + text
        found = [(text.find(string), string) for string in self._strings if string in text]
        if found:
            at, self.hit = min(found, key=lambda hit: hit[0])
            self._held = ""
            return text[:at]
        cut = len(text) - held_back(text, self._strings)
        self._held = text[cut:]
        return text[:cut]

    def finish(self) -> str:
        """Return what was held back in vain."""
        held, self._held = self._held, ""
        return held
