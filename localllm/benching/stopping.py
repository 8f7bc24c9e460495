"""How a run is ended from another thread: no signal is needed, and what was measured is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable

INSIST_S = 0.1


class Stopped(Exception):
    """Somebody asked the run to end. It does not leave ``Run.run``."""


class Stop:
    """Asked for once, from any thread."""

    def __init__(self) -> None:
        """Nobody has asked."""
        self._asked = threading.Event()
        self._ended = threading.Event()
        self._insists = threading.Lock()

    @property
    def asked(self) -> bool:
        """Whether somebody has asked."""
        return self._asked.is_set()

    def ask(self, cancel: Callable[[], None]) -> None:
        """Ask the run to end, and return at once.

        ``cancel`` ends the engine's request. One that is about to begin does not hear it, so it is
        called until ``ended``.
        """
        self._asked.set()
        if self._insists.acquire(blocking=False):
            insist = threading.Thread(
                target=self._insist, args=(cancel,), name="localllm-bench-stop", daemon=True
            )
            insist.start()

    def ended(self) -> None:
        """Say that the run makes no more requests."""
        self._ended.set()

    def check(self) -> None:
        """Raise Stopped if somebody has asked."""
        if self._asked.is_set():
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until somebody asks."""
        self._asked.wait(seconds)

    def _insist(self, cancel: Callable[[], None]) -> None:
        while not self._ended.is_set():
            cancel()
            self._ended.wait(INSIST_S)
