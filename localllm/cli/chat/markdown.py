"""Markdown that arrives piece by piece, as terminal rows that are final as early as possible.

Rich renders it. A block (paragraph, list, table) is final when the next one has begun; only the
last, open block is rendered again as it grows. A newline stays a newline, as is usual in chats.
Long code blocks become final in parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

from markdown_it.token import Token
from rich import markdown as rich_markdown
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.markdown import Markdown
from rich.syntax import Syntax
from rich.text import Text

from localllm.cli.chat.styled import Row, render
from localllm.talking.markdown import Parser, prepared

MAX_PROSE_WIDTH = 100
"""Longer rows of prose are hard to read; code and tables may be wider."""
MAX_CODE_LINES = 100
"""A longer code block becomes final in parts of so many lines."""
_RULE_WIDTH = 48

_PARSER = Parser()


class _Heading(rich_markdown.Heading):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text


class _CodeBlock(rich_markdown.CodeBlock):
    """Code as it was written, between two dim rules."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, _RULE_WIDTH)
        title = Text("" if self.lexer_name == "text" else f"── {self.lexer_name} ", "dim")
        title.truncate(width - 1, overflow="ellipsis")
        yield title.append("─" * (width - title.cell_len))
        if code := str(self.text):
            code = code.removesuffix("\n")
            yield Syntax(code, self.lexer_name, theme=self.theme, word_wrap=True, tab_size=4)
        yield Text("─" * width, "dim")


class _Cell(rich_markdown.TableDataElement):
    def __init__(self, justify: JustifyMethod) -> None:
        super().__init__(justify)
        self.content.overflow = "fold"  # rich would cut long words


class _Rendered(Markdown):
    elements = Markdown.elements | {
        "heading_open": _Heading,
        "fence": _CodeBlock,
        "code_block": _CodeBlock,
        "td_open": _Cell,
        "th_open": _Cell,
    }

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__("", code_theme="ansi_light", hyperlinks=False)
        self.parsed = [prepared(token) for token in tokens]


class MarkdownStream:
    """Takes text as it comes; gives rows that are final, and the rows of what is still open."""

    def __init__(self) -> None:
        """Start an empty answer."""
        self._tail = ""
        self._seen = 0
        self._started = False
        self._in_code = False

    def feed(self, text: str) -> None:
        """Take the next piece of text."""
        self._tail += text.replace("\r", "")

    def finish(self) -> None:
        """Close the last line, whether or not a newline came."""
        self._tail += "\n"

    def final_rows(self, width: int, *, finished: bool = False) -> list[Row]:
        """Return the rows that have become final since the last call.

        Only complete lines count: more of a line may make it another kind of line.
        """
        end = self._tail.rfind("\n") + 1
        if end == self._seen and not finished:
            return []
        blocks = list(_blocks(self._tail[:end]))
        open_block = None if finished or not blocks else blocks.pop()
        rows = [row for block in blocks for row in self._final(block, width)]
        if open_block is not None:
            rows += self._cut_off(open_block, width)
        elif finished:
            self._tail = ""
        self._seen = self._tail.rfind("\n") + 1
        return rows

    def open_rows(self, width: int) -> list[Row]:
        """Return what has been said since: the open block."""
        rows: list[Row] = []
        started, in_code = self._started, self._in_code
        for block in _blocks(self._tail):
            made = _render(block, width, gap=started and not in_code)
            rows += made[in_code:-1] if block[0].type == "fence" else made
            started, in_code = started or bool(made), False
        return rows

    def _final(self, block: list[Token], width: int) -> list[Row]:
        """Return the rows of a block, or of what is left of it."""
        rows = [row for part in _code_parts(block) for row in self._code_rows(part, width)]
        made = _render(block, width, gap=self._started and not self._in_code)
        rows += made[self._in_code :]
        self._started, self._in_code = self._started or bool(made), False
        return rows

    def _code_rows(self, part: list[Token], width: int) -> list[Row]:
        made = _render(part, width, gap=self._started and not self._in_code)
        rows = made[self._in_code : -1]
        self._started = self._in_code = True
        return rows

    def _cut_off(self, block: list[Token], width: int) -> list[Row]:
        """Keep the open block only, and of code only the lines that are not yet final."""
        assert block[0].map is not None
        lines = self._tail.split("\n")[block[0].map[0] :]
        rows: list[Row] = []
        for part in _code_parts(block):
            rows += self._code_rows(part, width)
            del lines[1 : 1 + MAX_CODE_LINES]
        self._tail = "\n".join(lines)
        return rows


def _blocks(text: str) -> Iterator[list[Token]]:
    """Yield the tokens of each top-level block."""
    block: list[Token] = []
    for token in _PARSER.parse(text):
        block.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield block
            block = []


def _code_parts(block: list[Token]) -> Iterator[list[Token]]:
    """Take full parts off the beginning of a code block, as code blocks of their own."""
    token = block[0]
    while token.type == "fence" and token.content.count("\n") > MAX_CODE_LINES:
        lines = token.content.split("\n")
        part = copy(token)
        part.content = "\n".join(lines[:MAX_CODE_LINES]) + "\n"
        token.content = "\n".join(lines[MAX_CODE_LINES:])
        yield [part]


def _render(block: list[Token], width: int, *, gap: bool) -> list[Row]:
    wide = block[0].type in ("fence", "code_block", "table_open")
    rows = render(_Rendered(block), width if wide else min(width, MAX_PROSE_WIDTH))
    while rows and not rows[0].width:
        del rows[0]
    while rows and not rows[-1].width:
        rows.pop()
    return [Row(), *rows] if gap and rows else rows
