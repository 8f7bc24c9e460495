"""Colours for code that arrives line by line, at a cost per line that does not grow.

Pygments reads whole texts. To colour one more line it is given that line and what came before it,
at most ``MAX_WINDOW`` characters. The window starts anew between two lines that are not within one
string or comment; a language within another (scripts in HTML) may then lose its colours.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Protocol

from localllm.cli.chat.styled import PLAIN, Run

MAX_WINDOW = 2400
_RESTART = 900
"""From this size on the window starts anew at the next line that can stand alone."""
_MAX_LINE = 400
"""A longer line is data, not code, and stays without colours."""

_STYLES = {
    "Comment": "2;3",
    "Keyword": "35",
    "Keyword.Constant": "36",
    "Name.Function": "34",
    "Name.Class": "34;1",
    "Name.Builtin": "36",
    "Name.Decorator": "33",
    "Name.Tag": "34",
    "Name.Attribute": "33",
    "Literal.String": "32",
    "Literal.Number": "36",
    "Operator.Word": "35",
    "Generic.Deleted": "31",
    "Generic.Inserted": "32",
    "Generic.Heading": "1",
    "Generic.Subheading": "1",
    "Generic.Prompt": "2",
}


class Highlighter:
    """One code block in one language; an unknown language gives plain text."""

    def __init__(self, language: str) -> None:
        """Take the word after the fence; Pygments is imported only when there is one."""
        self._lexer = _lexer(language) if language else None
        self._window: list[str] = []

    def line(self, text: str) -> list[Run]:
        """Return the next complete line in colours and remember it."""
        runs, alone = self._colour(text)
        self._window.append(text)
        size = sum(len(t) + 1 for t in self._window)
        if size > MAX_WINDOW or (size > _RESTART and alone):
            self._window.clear()
        return runs

    def peek(self, text: str) -> list[Run]:
        """Return an unfinished line in colours without remembering it."""
        return self._colour(text)[0]

    def _colour(self, text: str) -> tuple[list[Run], bool]:
        """Return the line in colours, and whether the next one can be read without it."""
        if self._lexer is None or len(text) > _MAX_LINE:
            return ([Run(text)] if text else []), True
        before = "".join(t + "\n" for t in self._window)
        runs: list[Run] = []
        at, name = 0, ""
        for kind, piece in self._lexer.get_tokens(before + text + "\n"):
            name = str(kind)[6:]
            start, at = at, at + len(piece)
            if at > len(before):
                shown = piece[max(0, len(before) - start) :].rstrip("\n")
                if shown:
                    runs.append(Run(shown, _style(name)))
        inside = name.startswith(("Literal.String", "Comment.Multiline"))
        if "".join(run.text for run in runs) != text:  # a lexer that rewrites its input
            return ([Run(text)] if text else []), True
        return runs, not inside


def _style(name: str) -> str:
    while name:
        if name in _STYLES:
            return _STYLES[name]
        name = name.rpartition(".")[0]
    return PLAIN


class _Lexer(Protocol):
    """What is used of a Pygments lexer; Pygments itself comes without types."""

    def get_tokens(self, text: str) -> Iterable[tuple[object, str]]: ...


def _lexer(language: str) -> _Lexer | None:
    lexers = import_module("pygments.lexers")
    try:
        lexer: _Lexer = lexers.get_lexer_by_name(language.lower(), stripnl=False, ensurenl=True)
    except import_module("pygments.util").ClassNotFound:
        return None
    return lexer
