"""A model's Markdown, parsed so that a terminal may show it while it still comes.

A block is final when the next one has begun, so what reaches back from later text is not known:
references, and headings that are underlined.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from copy import copy
from dataclasses import dataclass
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from localllm.core.text import safe


class Parser(MarkdownIt):
    """CommonMark with tables; HTML is text, as it would be left out."""

    def __init__(self) -> None:
        """Choose the rules."""
        super().__init__("commonmark", {"html": False})
        self.enable(["strikethrough", "table"])
        self.disable(["reference", "lheading"])


class PreparedParser(Parser):
    """The same, with tokens as they are to be shown: for whoever renders them without a look."""

    def parse(self, src: str, env: MutableMapping[str, Any] | None = None) -> list[Token]:
        """Return the tokens of a text."""
        return [prepared(token) for token in super().parse(src, env)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeBlock:
    """A block of code as it was written."""

    language: str
    """As it is named; empty where it is not."""
    code: str


def code_blocks(text: str) -> tuple[CodeBlock, ...]:
    """Return the blocks of code of a text, without control characters."""
    return tuple(
        CodeBlock(
            language=token.info.split(maxsplit=1)[0] if token.info.strip() else "",
            code=token.content,
        )
        for token in PreparedParser().parse(text)
        if token.type in ("fence", "code_block")
    )


def prepared(token: Token) -> Token:
    """Return a token as it is to be shown: newlines kept, targets of links visible, no controls."""
    token = copy(token)
    token.content, token.info = safe(token.content), safe(token.info)  # entities may hold controls
    if token.type == "softbreak":
        token.type = "hardbreak"
    elif token.type == "image":
        token = Token("text", "", 0, content=f"{token.content} ({token.attrs.get('src', '')})")
    elif token.children:
        token.children = [prepared(child) for child in _without_bare_links(token.children)]
    return token


def _without_bare_links(tokens: list[Token]) -> Iterator[Token]:
    """Leave out the marks of links whose text is their target, which rich would show twice."""
    bare = False
    for n, token in enumerate(tokens):
        if token.type == "link_open":
            bare = token.info == "auto" or tokens[n + 1].content == token.attrs.get("href")
        if not (bare and token.type in ("link_open", "link_close")):
            yield token
