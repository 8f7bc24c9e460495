"""Text from files and other people, made safe to print on a terminal."""

from __future__ import annotations

import unicodedata

_KEPT = frozenset("\n\t")


def printable(text: str) -> str:
    """Return the text with control, format and surrogate characters written as escapes.

    A model or file name may hold terminal escapes or text that runs backwards; printed raw, they
    could rewrite the screen. Newlines and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character in _KEPT or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
