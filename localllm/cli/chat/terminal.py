"""The terminal while an answer is written: what is typed does not show, signals are ours."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType

try:
    import termios
except ImportError:  # Windows: typed text then shows within an answer
    termios = None  # type: ignore[assignment]  # asked for before it is used


def rich_terminal() -> bool:
    """Whether standard output is a terminal that can repaint, and colours are wanted."""
    return (
        sys.stdout.isatty()
        and os.environ.get("TERM", "") not in ("", "dumb", "unknown")
        and not os.environ.get("NO_COLOR")
    )


class Leave(KeyboardInterrupt):
    """The second Ctrl-C: the person does not want to wait for the answer to stop."""


class Interrupts:
    """Ctrl-C while an answer is written: the first asks it to stop, the second raises ``Leave``.

    Use it in ``with``, in the main thread.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        """Take what asks the answer to stop; it is called within the signal handler."""
        self._stop = stop
        self.stopped = False
        self.at_s = float("-inf")
        """When the last one came, by the monotonic clock."""

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signal within the block."""
        self.stopped = False
        before = signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.at_s = time.monotonic()
        if self.stopped:
            raise Leave
        self.stopped = True
        self._stop()


@contextlib.contextmanager
def quiet_keyboard(continued: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep typed characters off the screen; they wait for the next prompt.

    After a stop (Ctrl-Z) and its end, when the shell has reset the terminal and written on it, the
    keyboard is made quiet again and ``continued`` is called. A process in the background leaves
    the terminal alone: setting it would stop the process.
    """
    if termios is None or not sys.stdin.isatty():
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)

    def quiet() -> None:
        if os.tcgetpgrp(fd) == os.getpgrp():
            mode = termios.tcgetattr(fd)
            mode[3] &= ~(termios.ECHO | termios.ICANON)
            termios.tcsetattr(fd, termios.TCSANOW, mode)

    def on_continue(number: int, frame: FrameType | None) -> None:
        quiet()
        continued()

    quiet()
    handler = signal.signal(signal.SIGCONT, on_continue)
    try:
        yield
    finally:
        signal.signal(signal.SIGCONT, handler)
        with contextlib.suppress(OSError, termios.error):  # the terminal may be gone
            if os.tcgetpgrp(fd) == os.getpgrp():
                termios.tcsetattr(fd, termios.TCSANOW, before)
