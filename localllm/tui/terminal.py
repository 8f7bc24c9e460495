"""The terminal as it was: for ends at which Textual cannot give it back, or does not wholly."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

try:
    import termios
except ImportError:  # Windows: Textual alone gives the terminal back
    termios = None  # type: ignore[assignment]  # asked for before it is used

_BACK = (
    "\x1b[?2026l"  # no frame is being drawn
    "\x1b[?2004l"  # bracketed paste
    "\x1b[?2048l"  # resizes told in the input
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l"  # mouse
    "\x1b[?1004l"  # focus
    "\x1b[?7h"  # long lines wrap
    "\x1b[<u"  # keys as they always were
    "\x1b[?1049l"  # the other screen
    "\x1b[?25h\x1b[0m"  # the cursor, no colour
)
_LEFT_OVER = "\x1b[?1016l"
"""Textual 8.2.8 turns pixels of the mouse on where a terminal has them, and never off."""
_WRITE_S = 0.05


class Terminal:
    """What a terminal was like before the UI. The streams may be something else than terminals."""

    def __init__(self) -> None:
        """Look at it."""
        self._attributes: list[Any] | None = None
        if termios is not None:
            with contextlib.suppress(termios.error):  # no terminal
                self._attributes = termios.tcgetattr(0)

    def give_back(self) -> None:
        """Put everything back, in a moment even where the terminal takes no output; any thread."""
        if self._attributes is not None:
            with contextlib.suppress(termios.error):  # it has gone
                termios.tcsetattr(0, termios.TCSANOW, self._attributes)
        self._write(_BACK)

    def finish(self) -> None:
        """Put back what Textual leaves as it is."""
        self._write(_LEFT_OVER)

    def _write(self, text: str) -> None:
        if not os.isatty(1):
            return
        writing = threading.Thread(target=_written, args=(text.encode(),), daemon=True)
        writing.start()
        writing.join(_WRITE_S)


def _written(text: bytes) -> None:
    with contextlib.suppress(OSError):  # it has gone
        os.write(1, text)


@contextlib.contextmanager
def stderr_drawn_on() -> Iterator[None]:
    """Have standard error be the terminal: Textual draws there, also of ``localllm 2>log``."""
    if os.isatty(2):
        yield
        return
    log = os.dup(2)
    os.dup2(1, 2)
    try:
        yield
    finally:
        os.dup2(log, 2)
        os.close(log)
