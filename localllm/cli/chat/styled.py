"""Rows of the terminal, made from rich's renderables.

Styles use the terminal's own 16 colours only, so that they are readable on a light and on a dark
background alike.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from functools import cache

from rich.color import ColorSystem
from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from rich.theme import Theme

_THEME = Theme(
    {
        "markdown.block_quote": "italic",
        "markdown.code": "cyan",
        "markdown.code_block": "none",
        "markdown.h1": "bold underline cyan",
        "markdown.h2": "bold cyan",
        **{f"markdown.h{level}": "bold" for level in range(3, 7)},
        "markdown.hr": "dim",
        "markdown.item.bullet": "cyan",
        "markdown.item.number": "cyan",
        "markdown.link": "underline",
        "markdown.link_url": "dim",
        "markdown.table.border": "dim",
        "markdown.table.header": "bold",
    }
)
_COLUMN = re.compile(r" *\S+(?: \S+)* {2,}")
_MIN_ROOM = 10


@dataclass(frozen=True, slots=True)
class Row:
    """One row as the terminal wants it, without a newline, and the cells it takes."""

    ansi: str = ""
    width: int = 0


@cache
def _console() -> Console:
    """Return a console that only lays out; what a terminal gets is written elsewhere."""
    return Console(file=io.StringIO(), force_terminal=True, color_system="standard", theme=_THEME)


def render(renderable: RenderableType, width: int) -> list[Row]:
    """Return the rows of anything that rich can show, without the spaces at their ends."""
    options = _console().options.update(width=width, height=None)
    return [_row(line) for line in _console().render_lines(renderable, options, pad=False)]


def row(*parts: tuple[str, str] | str) -> Row:
    """Make one row from texts and ``(text, style)`` pairs, as wide as it comes."""
    pairs = ((part, "") if isinstance(part, str) else part for part in parts)
    return _row([Segment(text, Style.parse(style)) for text, style in pairs])


def wrap(text: Text, width: int, bar: str = "") -> list[Row]:
    """Break a text at spaces, else within a word; a dim ``bar`` stands before each row."""
    lines = text.wrap(_console(), max(_MIN_ROOM, width - len(bar)), tab_size=4)
    return [made for line in lines for made in render(Text.assemble((bar, "dim"), line), width)]


def wrap_columns(line: str, width: int) -> list[Row]:
    """Break a line in two columns; what does not fit goes on under the second one."""
    column = _COLUMN.match(line)
    start = column.end() if column and column.end() <= width - _MIN_ROOM else 0
    head, body = line[:start], wrap(Text(line[start:]), width - start)
    return [
        Row(f"{' ' * start if n else head}{r.ansi}", start + r.width) for n, r in enumerate(body)
    ]


def _row(segments: list[Segment]) -> Row:
    kept = [segment for segment in segments if segment.text and not segment.control]
    while kept and not kept[-1].text.strip(" "):
        kept.pop()
    if kept:
        kept[-1] = Segment(kept[-1].text.rstrip(" "), kept[-1].style)
    ansi = "".join(
        style.render(text, color_system=ColorSystem.STANDARD) if style else text
        for text, style, _ in kept
    )
    return Row(ansi, sum(segment.cell_length for segment in kept))
