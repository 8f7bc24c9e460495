"""Pictures of real terminal sessions: run a command in a pseudo-terminal, type, draw the screen.

``scripts/screenshot.py --out docs/chat.svg --type "hello" -- localllm chat demo``

Every ``--type`` is sent as a line once the screen has been quiet for a moment; the picture shows
the screen as it is after the last one. Nothing is drawn by hand: the program printed all of it.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pexpect
import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

QUIET_S = 0.7
LIMIT_S = 60.0


def main() -> None:
    """Parse the arguments, run the command, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", default="100x30", help="columns x rows")
    parser.add_argument("--title", default="localllm")
    parser.add_argument("--type", action="append", default=[], dest="lines", metavar="LINE")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    columns, rows = (int(n) for n in options.size.split("x"))
    screen = record(options.command, options.lines, columns=columns, rows=rows)
    console = Console(record=True, width=columns, file=io.StringIO())
    for line in used_lines(screen):
        console.print(line, no_wrap=True, overflow="crop")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(console.export_svg(title=options.title), encoding="utf-8")


def record(command: Sequence[str], lines: Sequence[str], *, columns: int, rows: int) -> pyte.Screen:
    """Run a command in a terminal of this size, type the lines, and return its last screen."""
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    child = pexpect.spawn(
        command[0], list(command[1:]), dimensions=(rows, columns), env=environment, timeout=None
    )
    _settle(child, stream, screen)
    for line in lines:
        child.send(line + "\r")
        _settle(child, stream, screen)
    child.close(force=True)
    return screen


def _settle(child: pexpect.spawn, stream: pyte.ByteStream, screen: pyte.Screen) -> None:
    """Feed the terminal until nothing has arrived for a moment."""
    deadline = time.monotonic() + LIMIT_S
    quiet_since = time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - quiet_since < QUIET_S:
        try:
            data = child.read_nonblocking(65536, timeout=0.1)
        except pexpect.TIMEOUT:
            continue
        except pexpect.EOF:
            return
        stream.feed(data)
        if b"\x1b[6n" in data:  # prompt_toolkit asks where the cursor is
            child.send(f"\x1b[{screen.cursor.y + 1};{screen.cursor.x + 1}R")
        quiet_since = time.monotonic()


def used_lines(screen: pyte.Screen) -> list[Text]:
    """Return the screen's lines as styled text, without the empty ones at the end."""
    lines = [_styled_line(screen, y) for y in range(screen.lines)]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    return lines


def _styled_line(screen: pyte.Screen, y: int) -> Text:
    """Join neighbouring cells of one style: the picture has an element per run, not per cell."""
    row = screen.buffer[y]
    text = Text()
    for style, cells in itertools.groupby((row[x] for x in range(screen.columns)), key=_style):
        text.append("".join(cell.data for cell in cells), style)
    text.rstrip()
    return text


def _style(cell: Any) -> Style:
    return Style(
        color=_colour(cell.fg),
        bgcolor=_colour(cell.bg),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
        reverse=cell.reverse,
    )


def _colour(name: str) -> str | None:
    if name == "default":
        return None
    if len(name) == 6 and all(c in "0123456789abcdef" for c in name.lower()):
        return f"#{name}"
    return {"brown": "yellow"}.get(name, name.replace("bright", "bright_"))


if __name__ == "__main__":
    main()
