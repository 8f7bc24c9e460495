"""What the set-up says while it works: steps on stderr, a live line on a terminal, everything in a
log."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import TextIO

PLAIN_EVERY_S = 15.0
"""Without a terminal: how often a running step is mentioned again; less often as it grows long."""


def format_seconds(seconds: float) -> str:
    """``4.2 s`` or ``3 min 07 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


class Talk:
    """The person's view of the set-up, and its log."""

    def __init__(self, *, log_path: Path | None, stream: TextIO | None = None) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.live = self.stream.isatty()
        self.log_path = log_path
        self._log: TextIO | None = None
        if log_path is not None:
            self._log = log_path.open("w", encoding="utf-8", errors="replace")
        self._step: str | None = None
        self._began = self._spoke = time.monotonic()

    def say(self, text: str) -> None:
        """One line for the person, above the live line."""
        self._clear()
        self._print(text + "\n")
        self.log(text)

    def step(self, text: str) -> None:
        """Begins a step; the one before must be done."""
        self._step, self._began = text, time.monotonic()
        self._spoke = self._began
        self.log(f"== {text}")
        if self.live:
            self._draw("")
        else:
            self._print(f"  {text}\n")

    def tick(self, detail: str = "") -> None:
        """Shows that the step is alive: redraws the live line, or rarely prints a plain one."""
        if self._step is None:
            return
        now = time.monotonic()
        if self.live:
            if now - self._spoke >= 0.1:
                self._spoke = now
                self._draw(detail)
        elif now - self._spoke >= max(PLAIN_EVERY_S, (now - self._began) / 8):
            self._spoke = now
            self._print(
                f"    {detail + ', ' if detail else ''}{format_seconds(now - self._began)}\n"
            )

    def done(self) -> None:
        """Ends the step."""
        if self._step is None:
            return
        took = format_seconds(time.monotonic() - self._began)
        self._clear()
        if self.live:
            self._print(f"  {self._step}: {took}\n")
        self.log(f"== done in {took}")
        self._step = None

    def log(self, text: str) -> None:
        """A line for the log alone."""
        if self._log is None:
            return
        try:
            self._log.write(text + "\n")
            self._log.flush()
        except OSError:  # a full disk: the command that filled it says so
            self._log = None

    def close(self) -> None:
        """Removes the live line, for whoever prints next, and ends the log."""
        self._clear()
        self._step = None
        if self._log is not None:
            self._log.close()
            self._log = None

    def _draw(self, detail: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        took = format_seconds(int(time.monotonic() - self._began)).replace(".0 s", " s")
        line = f"  {self._step}: {detail + ', ' if detail else ''}{took}"
        self._print("\r\x1b[K" + line[:width])

    def _clear(self) -> None:
        if self.live and self._step is not None:
            self._print("\r\x1b[K")

    def _print(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:  # nobody listens any more; the set-up goes on
            self.live = False
