"""The end of the process within a second of the wish for it, whatever still runs.

Textual gives the terminal back and waits for its own tasks, the children are killed and reaped. If
anything in that takes too long (a terminal that takes no more output, a driver that hangs, a child
of 40 GB that is slow to die), a thread here gives the terminal back itself and ends the process.
The children end with it: they hear the end of their pipes, and on Linux the kernel kills them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

LEAVE_S = 0.8
"""From the wish to leave to the end of the process, at most."""

_SIGNALS = ("SIGTERM", "SIGHUP", "SIGINT")


class Leaving:
    """Hears the wish to leave: from the app, and as a signal."""

    def __init__(self, *, insist: Callable[[int], None], leave_s: float = LEAVE_S) -> None:
        """Take what ends the process where it has not ended in time; it gets the exit code."""
        self._insist = insist
        self._leave_s = leave_s
        self._leave: Callable[[int], None] = lambda code: None
        # A signal handler may come in between anything: it may write to a pipe, and no more.
        self._wishes, self._wish = os.pipe()
        if os.name == "posix":
            os.set_blocking(self._wish, False)
        threading.Thread(target=self._watch, name="localllm-tui-leaving", daemon=True).start()

    def hear_signals(self, leave: Callable[[int], None]) -> None:
        """Leave by SIGTERM, SIGHUP and SIGINT with their exit codes, 128 and the number.

        ``leave`` gets the code, in another thread. It is to be called in the main thread.
        """
        self._leave = leave
        for name in _SIGNALS:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None:
                signal.signal(number, self._signalled)

    def begin(self, code: int) -> None:
        """Say that the app is being left with an exit code: the time runs."""
        with contextlib.suppress(BlockingIOError):  # so many wishes that one is heard anyway
            os.write(self._wish, bytes((0, code)))

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wish, bytes((1, 128 + number)))

    def _watch(self) -> None:
        is_signal, code = os.read(self._wishes, 2)
        if is_signal:
            self._leave(code)
        time.sleep(self._leave_s)
        self._insist(code)
