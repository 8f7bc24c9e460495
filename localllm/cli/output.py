"""What a command writes: results on standard output, everything else on standard error.

Errors are rendered here and nowhere else. With ``--json`` an error stays on standard error and
standard output stays empty, so a script reads either a whole document or nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import sys
import time
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, TextIO, cast

import click

from localllm.core.text import printable
from localllm.errors import LocalLLMError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

MIN_WIDTH, MAX_WIDTH = 78, 110
"""Columns of a table: narrower it could not add up in one line, wider it is hard to follow."""


def show_error(error: LocalLLMError) -> None:
    """Print ``error:`` and ``hint:`` to standard error, without control characters."""
    _labelled("error", error.message, colour="red")
    if error.hint:
        hint(error.hint)


def hint(text: str) -> None:
    """Print a next step to standard error."""
    _labelled("hint", text, colour="cyan")


def note(text: str) -> None:
    """Print a remark to standard error."""
    _labelled("note", text, colour="yellow")


def emit_json(document: object) -> None:
    """Print one JSON document: ASCII, so that it survives every terminal and every pipe."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False))


def emit_json_line(document: object) -> None:
    """Print one JSON document on one line, and send it on at once."""
    result(json.dumps(document, ensure_ascii=True, allow_nan=False))


def check_one_format(*, as_json: bool, as_markdown: bool) -> None:
    """Raise UsageError where two kinds of output are asked for at once."""
    if as_json and as_markdown:
        raise UsageError("--json and --markdown are two kinds of output.", hint="Give one of them.")


def result(text: str) -> None:
    """Print a line of results and send it on at once, so that a pipe follows a long run."""
    click.echo(text)
    sys.stdout.flush()


def stdout_console() -> Console:
    """Return a rich console for results. Colours only on a terminal and never with NO_COLOR."""
    from rich.console import Console

    file = None if sys.stdout.isatty() else cast(IO[str], _Trimmed(sys.stdout))

    class _Honest(Console):
        def on_broken_pipe(self) -> None:
            """Leave it to ``main``: rich would exit with 1, and nobody would know why."""
            raise

    console = _Honest(file=file, highlight=False, markup=False, emoji=False)
    console.width = max(MIN_WIDTH, min(console.width, MAX_WIDTH))
    return console


class _Trimmed:
    """Standard output without the blanks that rich fills the ends of lines with."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write whole lines; rich never splits one."""
        return self._stream.write(re.sub(r" +$", "", text, flags=re.MULTILINE))


def unicode_output(stream: TextIO | None = None) -> bool:
    """Whether box and bar characters can be written to a stream (standard output by default)."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "ascii"
    return encoding.lower().replace("_", "-").startswith("utf")


def wrapped(text: str, width: int) -> list[str]:
    """Break between words only, so that a path or a command can be copied in one piece."""
    import textwrap

    lines = textwrap.wrap(text, max(width, 20), break_long_words=False, break_on_hyphens=False)
    return lines or [""]


class LiveLine:
    """One line on standard error that is redrawn in place; silent where nobody watches.

    Use it in ``with``: leaving it wipes the line, so that it never mixes with results.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        """Draw to a stream, standard error by default, if it is a terminal that can move."""
        self._stream = sys.stderr if stream is None else stream
        self.live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._drawn = False
        self._next_draw = 0.0

    def __enter__(self) -> Self:
        """Return the line itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wipe the line whatever happened."""
        self.wipe()

    def draw(self, text: str) -> None:
        """Show ``text``, cut to the terminal's width; more than 20 a second are not drawn."""
        now = time.monotonic()
        if not self.live or now < self._next_draw:
            return
        self._next_draw = now + 0.05
        self._stream.write(f"\r{printable(text)[: self.columns - 1]}\x1b[K")
        self._stream.flush()
        self._drawn = True

    @property
    def columns(self) -> int:
        """The width of its terminal, also where standard output is a file."""
        stated = os.environ.get("COLUMNS", "")
        if stated.isdecimal() and int(stated):
            return int(stated)
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def wipe(self) -> None:
        """Remove what was drawn."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = False


def reader_has_left(stream: TextIO) -> bool:
    """Whether the other end of a pipe is closed: only then is a broken pipe nobody's fault."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return False
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(state & (select.POLLERR | select.POLLHUP) for _, state in poll.poll(0))


def silence_stdout() -> None:
    """Send what is still buffered nowhere, so that the interpreter's last flush stays quiet."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _labelled(label: str, text: str, *, colour: str) -> None:
    plain = (
        not sys.stderr.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    )
    head = f"{label}:" if plain else click.style(f"{label}:", fg=colour, bold=True)
    indent = " " * len(f"{label}: ")
    lines = [re.sub(r"\s*[\n\t]\s*", " ", printable(text)).strip()]
    if sys.stderr.isatty():
        lines = wrapped(lines[0], _stderr_columns() - len(indent))
    with contextlib.suppress(OSError):  # standard error is full or gone: the exit code still tells
        click.echo(
            f"\n{indent}".join([f"{head} {lines[0]}", *lines[1:]]), err=True, color=not plain
        )


def _stderr_columns() -> int:
    """Return the width of the terminal that standard error is: standard output may be a file."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
