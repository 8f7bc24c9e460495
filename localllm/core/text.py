"""Text from files and other people, made safe to print on a terminal."""

from __future__ import annotations

import re
import unicodedata

_KEPT = frozenset("\n\t")
_JOINERS = re.compile("([\u200c\u200d]+)")
"""Joiners belong to emoji and to several scripts, and cannot move the cursor."""
_JOINED = frozenset(("Ll", "Lm", "Lo", "Lt", "Lu", "Mc", "Me", "Mn", "Sk", "So"))
"""What a joiner may stand between: letters, marks, emoji with their colours of skin."""


def printable(text: str) -> str:
    """Return the text with control, format and surrogate characters written as escapes.

    A model or file name may hold terminal escapes or text that runs backwards; printed raw, they
    could rewrite the screen. Newlines and tabs stay, and a single joiner between what it joins: an
    emoji of several people, letters of several scripts.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character in _KEPT
        or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
        or (character in "\u200c\u200d" and _joins(text, i))
        else character.encode("unicode_escape").decode("ascii")
        for i, character in enumerate(text)
    )


def _joins(text: str, i: int) -> bool:
    """Whether the joiner at ``i`` stands between characters that join.

    In ASCII none do: there it would only make two names look the same.
    """
    return 0 < i < len(text) - 1 and all(
        not beside.isascii() and unicodedata.category(beside) in _JOINED
        for beside in (text[i - 1], text[i + 1])
    )


def safe(text: str) -> str:
    """Return a model's text as a terminal may get it: no control character, joiners excepted."""
    text = text.replace("\r", "")
    if text.isprintable() or ("\u200c" not in text and "\u200d" not in text):
        return printable(text)
    return "".join(
        piece if _JOINERS.fullmatch(piece) else printable(piece) for piece in _JOINERS.split(text)
    )
