"""Markdown within one line: emphasis, code, links; and how much of an unfinished line is settled.

An answer arrives piece by piece, so a line is parsed before its end is known. A marker that is not
closed yet is shown as if it would be; ``settled`` says up to where nothing can change any more.
"""

from __future__ import annotations

import re

from localllm.cli.chat.styled import BOLD, CYAN, DIM, ITALIC, STRIKE, UNDERLINE, Run, merge

MAX_REACH = 600
"""Characters a marker may be away from its partner, which bounds what is parsed again."""

_STYLES = {"**": BOLD, "__": BOLD, "*": ITALIC, "_": ITALIC, "~~": STRIKE}
_ESCAPABLE = frozenset("\\`*_{}[]()#+-.!|~<>\"'$%&,/:;=?@^")
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&nbsp;": " "}
_LINK = re.compile(
    r"!?\[([^\[\]]*)\]\(<?([^\s()<>]*(?:\([^\s()]*\)[^\s()]*)*)>?(?:\s+\"[^\"]*\")?\)"
)
_OPEN_LINK = re.compile(r"!?\[[^\[\]]*(?:\](?:\((?:[^()]|\([^()]*\))*(?:\([^()]*)?)?)?\Z")
_AUTOLINK = re.compile(r"<(https?://[^\s<>]+)>")
_OPEN_AUTOLINK = re.compile(r"<(?:h|ht|htt|https?:?/?|https?://[^\s<>]*)?\Z")
_OPEN_TAIL = re.compile(r"(?:[*_~`\\]+|&(?:#\d{0,2}|[a-z]{0,4}))\Z")


def parse_inline(source: str, base: str = "", *, final: bool = True) -> tuple[list[Run], int]:
    """Return the runs of a line in the style ``base``, and the offset up to which they are settled.

    With ``final`` the line is complete: markers without a partner are then ordinary text.
    """
    return _Parser(source, base, final).parse()


class _Parser:
    def __init__(self, source: str, base: str, final: bool) -> None:
        self.source, self.base, self.final = source, base, final
        self.runs: list[Run] = []
        self.settled = len(source)
        self.open: list[tuple[str, int, int]] = []  # marker, index of its run, offset

    def parse(self) -> tuple[list[Run], int]:
        source, end = self.source, len(self.source)
        if not self.final and (tail := _OPEN_TAIL.search(source)):
            end = tail.start()
            self.settled = end
        at = 0
        while at < end:
            char = source[at]
            if char == "\\" and at + 1 < end and source[at + 1] in _ESCAPABLE:
                at = self.text(source[at + 1], at + 2)
            elif char == "`":
                at = self.code(at, end)
            elif char in "*_~":
                at = self.marker(at)
            elif char in "[!" and (after := self.link(at)) is not None:
                at = after
            elif char == "<" and (found := _AUTOLINK.match(source, at)):
                self.stretch(found.start(1), found.end(1), UNDERLINE)
                at = self.up_to(found.end())
            elif char == "<" and not self.final and _OPEN_AUTOLINK.match(source, at):
                self.settled = min(self.settled, at)
                at = self.text(char, at + 1)
            elif char == "&" and (name := source[at : source.find(";", at) + 1]) in _ENTITIES:
                at = self.text(_ENTITIES[name], at + len(name))
            else:
                at = self.text(char, at + 1)
        self.close_line()
        return self.runs, self.settled

    def text(self, char: str, after: int) -> int:
        self.runs.append(Run(char, self.base, after))
        return after

    def stretch(self, start: int, end: int, style: str) -> None:
        """Take characters of the source as they are."""
        style = merge(self.base, style)
        self.runs += [Run(self.source[i], style, i + 1) for i in range(start, end)]

    def up_to(self, end: int) -> int:
        """Let the last run stand for the source up to ``end`` and return that."""
        if self.runs:
            last = self.runs[-1]
            self.runs[-1] = Run(last.text, last.style, end)
        return end

    def code(self, at: int, end: int) -> int:
        n = _run_length(self.source, at)
        fence = self.source[at : at + n]
        limit = min(end, at + n + MAX_REACH)
        close = self.source.find(fence, at + n, limit)
        while close >= 0 and _run_length(self.source, close) != n:
            close += _run_length(self.source, close)
            close = self.source.find(fence, close, limit)
        if close >= 0:
            inner = self.source[at + n : close]
            shift = 1 if len(inner) > 2 and inner[0] == inner[-1] == " " and inner.strip() else 0
            self.stretch(at + n + shift, close - shift, CYAN)
            return self.up_to(close + n)
        if self.final or end - at > MAX_REACH:
            for i in range(n):
                self.text("`", at + i + 1)
            return at + n
        self.settled = min(self.settled, at)
        self.stretch(at + n, end, CYAN)
        return end

    def marker(self, at: int) -> int:
        source, char = self.source, self.source[at]
        n = _run_length(source, at)
        before = source[at - 1] if at else " "
        after = source[at + n] if at + n < len(source) else " "
        opens, closes = _flanking(char, before, after)
        rest = n
        while rest and closes and (size := self.closing(char, rest, at)):
            rest -= size
        if rest < n:
            self.up_to(at + n - rest)
        if opens and (char != "~" or rest == 2):
            while rest:
                size = 2 if rest >= 2 else 1
                self.open.append((char * size, len(self.runs), at + n - rest))
                rest -= size
        for i in range(rest):
            self.text(char, at + n - rest + i + 1)
        return at + n

    def closing(self, char: str, rest: int, at: int) -> int:
        """Close the nearest open marker of this character; return its length, 0 without one."""
        for i in range(len(self.open) - 1, -1, -1):
            marker, index, offset = self.open[i]
            if marker[0] != char or len(marker) > rest or at - offset > MAX_REACH:
                continue
            if index == len(self.runs):
                continue  # nothing in between: `**` `**` is not an empty bold
            for opener in reversed(self.open[i + 1 :]):
                self.literal(opener)
            del self.open[i:]
            self.restyle(index, _STYLES[marker])
            return len(marker)
        return 0

    def link(self, at: int) -> int | None:
        if self.source[at] == "!" and self.source[at + 1 : at + 2] != "[":
            return None
        if found := _LINK.match(self.source, at, at + 2 * MAX_REACH):
            self.stretch(*found.span(1), UNDERLINE)
            if not found[1]:
                self.stretch(*found.span(2), UNDERLINE)
            elif found[2] and found[2] != found[1]:
                dim = merge(self.base, DIM)
                self.runs += [Run(c, dim, found.end(1) + i) for i, c in enumerate(" (", 1)]
                self.stretch(*found.span(2), DIM)
                self.runs.append(Run(")", dim, found.end()))
            return self.up_to(found.end())
        if (
            not self.final
            and len(self.source) - at <= MAX_REACH
            and _OPEN_LINK.match(self.source, at)
        ):
            self.settled = min(self.settled, at)
        return None

    def restyle(self, index: int, style: str) -> None:
        self.runs[index:] = [
            Run(r.text, merge(r.style, style), r.source_end) for r in self.runs[index:]
        ]

    def literal(self, opener: tuple[str, int, int]) -> None:
        marker, index, offset = opener
        self.runs[index:index] = [Run(c, self.base, offset + i + 1) for i, c in enumerate(marker)]
        self.open = [(m, i + len(marker) if i > index else i, o) for m, i, o in self.open]

    def close_line(self) -> None:
        while self.open:
            marker, index, offset = opener = self.open.pop()
            if self.final or len(self.source) - offset > MAX_REACH:
                self.literal(opener)
            else:
                self.settled = min(self.settled, offset)
                self.restyle(index, _STYLES[marker])


def _run_length(text: str, at: int) -> int:
    n = 1
    while at + n < len(text) and text[at + n] == text[at]:
        n += 1
    return n


def _flanking(char: str, before: str, after: str) -> tuple[bool, bool]:
    """Whether a run of markers may open and may close emphasis, by CommonMark's flanking rules."""
    left = not after.isspace() and (_is_word(after) or not _is_word(before))
    right = not before.isspace() and (_is_word(before) or not _is_word(after))
    if char == "_":
        return left and (not right or not _is_word(before)), right and (
            not left or not _is_word(after)
        )
    return left, right


def _is_word(char: str) -> bool:
    return char.isalnum()
