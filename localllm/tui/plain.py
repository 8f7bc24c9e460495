"""Terminals that cannot show every character: plainer ones in their place, cell for cell.

The Linux console has 512 glyphs, and a terminal without UTF-8 a hundred: what is drawn with more
would become question marks, or move everything after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

Charset = Literal["all", "console", "ascii"]
"""What a terminal shows: all of Unicode; a console's font; nothing beyond ASCII."""

_CONSOLE: Mapping[str, str] = {
    **dict.fromkeys("╭┏┌", "┌"),
    **dict.fromkeys("╮┓┐", "┐"),
    **dict.fromkeys("╰┗└", "└"),
    **dict.fromkeys("╯┛┘", "┘"),
    **dict.fromkeys("━╌┄┈╴╶", "─"),
    **dict.fromkeys("┃╎┆┊▏▕", "│"),
    **dict.fromkeys("▁▂", "_"),
    **dict.fromkeys("▃▅▆▇", "▄"),
    **dict.fromkeys("▎▍▋▊▉▐▌", "█"),
    **dict.fromkeys("▔", "▀"),
    **dict.fromkeys("╱", "/"),
    **dict.fromkeys("▚▞", "▒"),
    **dict.fromkeys("✓✔", "+"),
    **dict.fromkeys("✗✘⚠", "x"),
    **dict.fromkeys("▼▾", "v"),
    **dict.fromkeys("▲▴", "^"),
    **dict.fromkeys("▶▸", ">"),
    **dict.fromkeys("◀◂", "<"),
    **dict.fromkeys("●◉", "*"),
    **dict.fromkeys("○◌", "o"),
    **dict.fromkeys("✎", "~"),
    **dict.fromkeys("⇣↧", "↓"),
    **dict.fromkeys("…", "."),
    **dict.fromkeys("⏎", "<"),
    **dict.fromkeys(map(chr, range(0x2801, 0x2900)), "·"),  # Braille: dots of a curve
    chr(0x2800): " ",
}
"""Beside what the usual console fonts have: single and double lines, ░▒▓█▀▄, Latin, arrows."""

_ASCII: Mapping[str, str] = {
    **dict.fromkeys("┌┐└┘├┤┬┴┼╔╗╚╝╠╣╦╩╬", "+"),
    **dict.fromkeys("▁▂", "_"),
    **dict.fromkeys("▃▄", "-"),
    **dict.fromkeys("▅▆▋▌▍▎", "="),
    **dict.fromkeys("▇▉▊", "#"),
    **dict.fromkeys("─═–—−", "-"),
    **dict.fromkeys("│║", "|"),
    **dict.fromkeys("█▓▀", "#"),
    **dict.fromkeys("▒", "="),
    **dict.fromkeys("░·•", "."),
    **dict.fromkeys("→", ">"),
    **dict.fromkeys("←", "<"),
    **dict.fromkeys("↑", "^"),
    **dict.fromkeys("↓", "v"),
    **dict.fromkeys("↕↔", "|"),
    **dict.fromkeys("×", "x"),
    **dict.fromkeys("°", "o"),
    **dict.fromkeys("±", "~"),
    **dict.fromkeys("≥", ">"),
    **dict.fromkeys("µ", "u"),
    **dict.fromkeys("\u2018\u2019", "'"),
    **dict.fromkeys("\u201c\u201d", '"'),
}


def charset(*, encoding: str | None, term: str) -> Charset:
    """Return what a terminal can show, by the encoding that is written to it and its name."""
    if not (encoding or "ascii").lower().replace("_", "-").startswith("utf"):
        return "ascii"
    return "console" if term == "linux" else "all"


def plainer_key(display: str, charset: Charset) -> str:
    """Return a key's name as it is drawn: its sign in words where the terminal has none.

    Before anything is laid out, unlike the rest: no plainer sign as wide says "enter".
    """
    return display if charset == "all" else display.replace("⏎", "enter")


class PlainCharacters(LineFilter):
    """Replaces what a terminal cannot show, each by something as wide."""

    def __init__(self, charset: Charset) -> None:
        """Take what it can show; with ``all`` nothing is done."""
        super().__init__(enabled=charset != "all")
        self._ascii = charset == "ascii"
        further = {char: _ASCII.get(plain, plain) for char, plain in _CONSOLE.items()}
        self._table = str.maketrans({**further, **_ASCII} if self._ascii else {**_CONSOLE})

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return the same segments, plainer."""
        return [Segment(self._plainer(text), style, control) for text, style, control in segments]

    def _plainer(self, text: str) -> str:
        if text.isascii():
            return text
        text = text.translate(self._table)
        if not self._ascii or text.isascii():
            return text
        return "".join(char if char.isascii() else "?" * cell_len(char) for char in text)
