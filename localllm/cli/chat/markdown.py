"""Markdown that arrives piece by piece, as terminal rows that are final as early as possible.

A line is the unit: a finished line never changes again, except for tables, which are kept until
they end. Of the open line, rows that are full and settled are final too; so what is repainted is a
row or two, whatever the length of the answer. A newline stays a newline, as is usual in chats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from localllm.cli.chat.code import Highlighter
from localllm.cli.chat.inline import parse_inline
from localllm.cli.chat.styled import (
    BOLD,
    CYAN,
    DIM,
    ITALIC,
    PLAIN,
    UNDERLINE,
    Row,
    Run,
    merge,
    row,
    width_of,
    wrap,
)
from localllm.cli.chat.table import Table, is_delimiter

MAX_PROSE_WIDTH = 100
"""Longer rows of prose are hard to read; code and tables may be wider."""
_MAX_OPEN_TABLE = 40
_MAX_INDENT = 12
_RULE_WIDTH = 48

_FENCE = re.compile(r"( *)(`{3,}|~{3,})\s*([^\s`]*)[^`]*")
_HEADING = re.compile(r" {0,3}(#{1,6})\s+(\S.*)")
_RULE = re.compile(r" {0,3}([-*_])(?:\s*\1){2,}\s*")
_ITEM = re.compile(r"(\s*)([-*+]|\d{1,9}[.)])\s+(\[[ xX]\]\s+)?(?=\S)")
_QUOTE = re.compile(r" {0,3}((?:>\s?)+)")
_NOTHING = Row(())


@dataclass(frozen=True, slots=True)
class _Flow:
    """How the text of a line runs: where its body starts and what stands before its rows."""

    body: int
    base: str = PLAIN
    first: Row = _NOTHING
    rest: Row = _NOTHING


class MarkdownStream:
    """Takes text as it comes; gives rows that are final, and the rows of what is still open."""

    def __init__(self) -> None:
        """Start an empty answer."""
        self._complete: list[str] = []
        self._open = ""
        self._flow: _Flow | None = None
        self._shown = 0
        self._fence: tuple[str, int] | None = None
        self._code: Highlighter | None = None
        self._table: Table | str | None = None
        self._gap = False
        self._started = False

    def feed(self, text: str) -> None:
        """Take the next piece of text."""
        *lines, self._open = (self._open + text.replace("\r", "")).split("\n")
        self._complete += lines

    def finish(self) -> None:
        """Close the last line, whether or not a newline came."""
        if self._open:
            self._complete.append(self._open)
            self._open = ""

    def final_rows(self, width: int, *, finished: bool = False) -> list[Row]:
        """Return the rows that have become final since the last call."""
        rows: list[Row] = []
        for line in self._complete:
            rows += self._line(line, width)
        self._complete.clear()
        rows += self._overflow(width)
        if finished:
            rows += self._end_table(width)
            if self._fence is not None:
                rows += self._end_code(width)
            self._gap = False
        return rows

    def open_rows(self, width: int) -> list[Row]:
        """Return what has been said since: the open line, and a table that has not ended."""
        rows = self._table_rows(width)
        line = self._open.expandtabs(4)
        if self._fence is not None:
            if line and not self._closes(line):
                assert self._code is not None
                runs = self._code.peek(self._dedent(line))
                rows += _chunks([Run(c, r.style) for r in runs for c in r.text], width)
        elif self._flow is not None:
            rows += self._flow_rows(line, width, final=False)
        elif _FENCE.fullmatch(line) or _RULE.fullmatch(line) or line.lstrip().startswith("|"):
            rows += _chunks([Run(c, DIM) for c in line], width)
        elif line.strip():
            rows += self._flow_rows(line, width, final=False)
        return [_NOTHING, *rows] if rows and self._gap else rows

    def _line(self, line: str, width: int) -> list[Row]:
        line = line.expandtabs(4)
        if self._fence is not None:
            return self._code_line(line, width)
        if self._flow is None:
            if line.lstrip().startswith("|"):
                return self._table_line(line, width)
            before = self._end_table(width)
            if not line.strip():
                self._gap = self._started
                return before
            if fence := _FENCE.fullmatch(line):
                return before + self._begin_code(fence[1], fence[2], fence[3], width)
            if _RULE.fullmatch(line):
                return before + self._space([row(("─" * min(width, _RULE_WIDTH), DIM))])
            if _HEADING.fullmatch(line):
                self._gap = self._started
            rows = before + self._space(self._flow_rows(line, width, final=True))
        else:
            rows = self._flow_rows(line, width, final=True)
        self._flow, self._shown = None, 0
        return rows

    def _overflow(self, width: int) -> list[Row]:
        """Return the full and settled rows of the open line, and shorten what is parsed again."""
        line = self._open
        if self._fence is not None or len(line) < 20 or "\t" in line:
            return []
        if self._flow is None and (
            self._table is not None
            or line.lstrip().startswith("|")
            or _FENCE.fullmatch(line)
            or _RULE.fullmatch(line)
        ):
            return []
        runs, settled = self._runs(line, final=False)
        certain = [r for r in runs if self._shown < r.source_end <= settled]
        done = self._wrapped(certain, line, width)[:-1]  # more text only makes the last word longer
        if not done:
            return []
        heading = self._flow is None and _HEADING.fullmatch(line) is not None
        flow = self._flow or _flow(line)
        if heading:
            self._gap = self._started
        self._flow = _Flow(flow.body, flow.base, flow.rest, flow.rest)
        self._shown = done[-1].source_end
        before = [r for r in runs if r.source_end <= self._shown]
        after = [r for r in runs if r.source_end > self._shown]
        if not (before and after) or flow.base in (before[-1].style, after[0].style):
            self._open = line[self._shown :]
            self._flow = _Flow(0, flow.base, flow.rest, flow.rest)
            self._shown = 0
        return self._space(done)

    def _flow_rows(self, line: str, width: int, *, final: bool) -> list[Row]:
        """Return the rows not yet shown of a line."""
        unseen = [r for r in self._runs(line, final=final)[0] if r.source_end > self._shown]
        if self._flow is not None and final and not unseen:
            return []
        return self._wrapped(unseen, line, width)

    def _runs(self, line: str, *, final: bool) -> tuple[list[Run], int]:
        """Return the runs of a line's text, and up to where they are settled."""
        flow = self._flow or _flow(line)
        runs, settled = parse_inline(line[flow.body :], flow.base, final=final)
        return [Run(r.text, r.style, r.source_end + flow.body) for r in runs], settled + flow.body

    def _wrapped(self, runs: list[Run], line: str, width: int) -> list[Row]:
        flow = self._flow or _flow(line)
        return wrap(runs, min(width, MAX_PROSE_WIDTH), flow.first, flow.rest)

    def _space(self, rows: list[Row]) -> list[Row]:
        """Put the one empty row before them that is due, if any."""
        gap, self._gap, self._started = self._gap, False, True
        return [_NOTHING, *rows] if gap else rows

    def _begin_code(self, indent: str, fence: str, language: str, width: int) -> list[Row]:
        self._fence = (fence, len(indent))
        self._code = Highlighter(language)
        self._gap = self._started
        title = f"── {language} " if language else ""
        line = title + "─" * max(0, min(width, _RULE_WIDTH) - width_of(title))
        return self._space([row((line, DIM))])

    def _code_line(self, line: str, width: int) -> list[Row]:
        if self._closes(line):
            return self._end_code(width)
        assert self._code is not None
        return [Row(tuple(self._code.line(self._dedent(line))))]

    def _end_code(self, width: int) -> list[Row]:
        self._fence = self._code = None
        self._gap = True
        return [row(("─" * min(width, _RULE_WIDTH), DIM))]

    def _closes(self, line: str) -> bool:
        assert self._fence is not None
        mark = line.strip()
        return mark.startswith(self._fence[0]) and not mark.strip(self._fence[0][0])

    def _dedent(self, line: str) -> str:
        assert self._fence is not None
        lead = len(line) - len(line.lstrip(" "))
        return line[min(lead, self._fence[1]) :]

    def _table_line(self, line: str, width: int) -> list[Row]:
        if isinstance(self._table, Table):
            self._table.add(line)
            return self._table.cut(width) if len(self._table.body) >= _MAX_OPEN_TABLE else []
        if self._table is None:
            self._table = line
            return []
        if is_delimiter(line):
            self._table = Table.begin(self._table, line)
            self._gap = self._started
            return self._space([])
        rows = self._end_table(width)
        self._table = line
        return rows

    def _end_table(self, width: int) -> list[Row]:
        table, self._table = self._table, None
        if table is None:
            return []
        if isinstance(table, str):
            return self._space(self._flow_rows(table, width, final=True))
        rows = table.rows(width)
        self._gap = True
        return rows

    def _table_rows(self, width: int) -> list[Row]:
        if isinstance(self._table, str):
            return _chunks([Run(c, DIM) for c in self._table], width)
        return self._table.rows(width) if self._table is not None else []


def _flow(line: str) -> _Flow:
    """Say what kind of line this is, as far as its beginning tells."""
    if heading := _HEADING.fullmatch(line):
        level = len(heading[1])
        style = merge(BOLD, CYAN if level <= 2 else "", UNDERLINE if level == 1 else "")
        return _Flow(heading.start(2), style)
    if item := _ITEM.match(line):
        indent = min(len(item[1]), _MAX_INDENT)
        mark = item[2] if item[2][0].isdigit() else "•" if not indent else "◦"
        if item[3]:
            mark = "☐" if item[3][1] == " " else "☑"
        lead = " " * indent
        return _Flow(
            item.end(),
            PLAIN,
            row(lead, (mark, CYAN), " "),
            row(" " * (indent + width_of(mark) + 1)),
        )
    if quote := _QUOTE.match(line):
        bars = row(("▎ " * quote[1].count(">"), DIM))
        return _Flow(quote.end(), ITALIC, bars, bars)
    lead_n = len(line) - len(line.lstrip(" "))
    lead_row = row(" " * min(lead_n, _MAX_INDENT)) if lead_n else _NOTHING
    return _Flow(lead_n, PLAIN, lead_row, lead_row)


def _chunks(runs: list[Run], width: int) -> list[Row]:
    """Break runs of one character each at exactly ``width`` cells."""
    rows: list[Row] = []
    line: list[Run] = []
    used = 0
    for run in runs:
        size = width_of(run.text)
        if used + size > width and line:
            rows.append(Row(tuple(line)))
            line, used = [], 0
        line.append(run)
        used += size
    return [*rows, Row(tuple(line))]
