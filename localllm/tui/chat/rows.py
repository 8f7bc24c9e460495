"""A block of Markdown as rows of styled text: how an answer is shown while it comes. Pure.

It looks much like Textual's widgets for the same block, and costs a hundredth: those are made anew
for every token of a list, a table or code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from markdown_it.token import Token
from textual.content import Content, Span

_BULLETS = "•▪‣⭑◦"
_QUOTE = "▌ "
_CODE = "│ "
_EMPHASIS = {"strong_open": "bold", "em_open": "italic", "s_open": "strike"}
_LINK = "underline"
_INLINE_CODE = "$text-warning"
_HEADINGS = {
    "h1": "bold $markdown-h1-color",
    "h2": "underline $markdown-h2-color",
    "h3": "bold $markdown-h3-color",
    "h4": "bold underline $markdown-h4-color",
    "h5": "bold $markdown-h5-color",
    "h6": "bold $markdown-h6-color",
}
_BETWEEN, _NARROWEST = 3, 3
"""Cells between two columns of a table, and of a column."""


class Block(Protocol):
    """One block, as far as it has come."""

    @property
    def above(self) -> int:
        """Empty rows before it, at least; there is one after every block."""
        ...

    def rows(self, width: int) -> Iterator[Content]:
        """Yield its rows at a width."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line as it was written, to be wrapped."""

    content: Content
    lead: str = ""
    """Stands before its first row."""
    next_lead: str = ""
    """Stands before the others."""
    wraps: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A paragraph, a heading, a list, a quotation, code, a rule."""

    lines: tuple[Line, ...]
    above: int = 0
    is_centred: bool = False

    def rows(self, width: int) -> Iterator[Content]:
        """Yield its rows at a width."""
        for line in self.lines:
            room = max(width - len(line.lead), 1)
            wrapped = line.content.wrap(room) if line.wraps else [line.content.truncate(room)]
            lead = line.lead
            for row in wrapped or [Content("")]:
                text = row.rstrip()
                if self.is_centred:
                    yield text.center(width)
                else:
                    yield Content.assemble((lead, "$text-primary"), text) if lead else text
                lead = line.next_lead


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; the first row is its heading. Cells that have no room are cut for now."""

    cells: tuple[tuple[Content, ...], ...]
    above: int = 0

    def rows(self, width: int) -> Iterator[Content]:
        """Yield its rows at a width."""
        widths = self._widths(width)
        for n, cells in enumerate(self.cells):
            padded = [
                cell.truncate(room, ellipsis=True).pad_right(room - min(cell.cell_length, room))
                for cell, room in zip(cells, widths, strict=False)
            ]
            yield Content(" │ ").join(padded).stylize("bold" if n == 0 else "")
            if n == 0:
                yield Content("─┼─".join("─" * room for room in widths))

    def _widths(self, width: int) -> list[int]:
        columns = range(max(map(len, self.cells), default=0))
        wished = [
            max((cells[n].cell_length for cells in self.cells if n < len(cells)), default=0)
            for n in columns
        ]
        room = max(width - _BETWEEN * (len(wished) - 1), 1)
        if sum(wished) <= room:
            return wished
        return [max(_NARROWEST, one * room // sum(wished)) for one in wished]


def block_of(tokens: Sequence[Token]) -> Block:
    """Return a block from its tokens."""
    first = tokens[0]
    if first.type == "table_open":
        return Table(cells=tuple(_cells(tokens)))
    lines = tuple(_lines(tokens))
    if first.type == "heading_open":
        is_large = first.tag in ("h1", "h2")
        return Text(lines=lines, above=1 + is_large, is_centred=first.tag == "h1")
    return Text(lines=lines, above=int(first.type == "blockquote_open"))


def inline(token: Token) -> Content:
    """Return what stands in a line, with its emphasis."""
    text = ""
    spans: list[Span] = []
    open_at: list[tuple[int, str]] = []
    for child in token.children or ():
        if child.type == "code_inline":
            spans.append(Span(len(text), len(text) + len(child.content), _INLINE_CODE))
            text += child.content
        elif child.type in ("softbreak", "hardbreak"):
            text += "\n"
        elif child.type in _EMPHASIS or child.type == "link_open":
            open_at.append((len(text), _EMPHASIS.get(child.type, _LINK)))
        elif child.type.endswith("_close") and open_at:
            start, style = open_at.pop()
            spans.append(Span(start, len(text), style))
        else:
            text += child.content
    return Content(text, spans)


def _cells(tokens: Sequence[Token]) -> Iterator[tuple[Content, ...]]:
    cells: list[Content] = []
    for token in tokens:
        if token.type == "inline":
            cells.append(inline(token))
        elif token.type == "tr_close":
            yield tuple(cells)
            cells = []


def _lines(tokens: Sequence[Token]) -> Iterator[Line]:
    style = _HEADINGS.get(tokens[0].tag, "") if tokens[0].type == "heading_open" else ""
    outer: list[str] = []
    """What stands before every row, of the lists and quotations that are open."""
    mark = ""
    """What stands before the next line in the place of the innermost."""
    for token in tokens:
        if token.type in ("bullet_list_open", "ordered_list_open"):
            outer.append("  " if token.type == "bullet_list_open" else "    ")
        elif token.type == "blockquote_open":
            outer.append(_QUOTE)
        elif token.type in ("bullet_list_close", "ordered_list_close", "blockquote_close"):
            outer.pop()
        elif token.type == "list_item_open":
            mark = f"{token.info}. ".rjust(4) if token.info else f"{_bullet(outer)} "
        elif token.type in ("inline", "fence", "code_block"):
            is_code = token.type != "inline"
            text = Content(token.content.rstrip("\n")) if is_code else inline(token)
            every = "".join(outer) + (_CODE if is_code else "")
            for content in text.split("\n", allow_blank=True):
                lead = "".join(outer[:-1]) + mark if mark else every
                styled = content.stylize(style) if style else content
                yield Line(content=styled, lead=lead, next_lead=every, wraps=not is_code)
                mark = ""
        elif token.type == "hr":
            yield Line(content=Content.styled("─" * 1000, "$secondary"), wraps=False)


def _bullet(outer: Sequence[str]) -> str:
    depth = sum(lead == "  " for lead in outer)
    return _BULLETS[(depth - 1) % len(_BULLETS)]
