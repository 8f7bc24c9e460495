"""How often a download is tried without a new byte, and the waits in between."""

from __future__ import annotations

import threading
from collections.abc import Callable

from localllm.hub.background import Stopped
from localllm.hub.http_refusals import NotReached, Transient
from localllm.hub.patience import FetchPatience
from localllm.units import format_duration


class GaveUp(Exception):
    """It was tried often enough."""

    def __init__(self, reason: str) -> None:
        """Say why it failed the last time, as the end of a sentence."""
        super().__init__(reason)
        self.reason = reason


class Tries:
    """The tries of one download."""

    def __init__(
        self, patience: FetchPatience, stop: threading.Event, *, on_wait: Callable[[str], None]
    ) -> None:
        """Nothing was tried yet. ``on_wait`` hears why the next try is put off, and how long."""
        self._patience = patience
        self._stop = stop
        self._on_wait = on_wait
        self._n_failed = 0
        self._was_reached = False
        self._most_bytes = 0

    @property
    def longest_answer_s(self) -> float:
        """How long one answer may take to begin: longer is a failed try."""
        return self._patience.longest_answer_s

    def reached(self) -> None:
        """Hear that the server is there: if it is gone later, it may come back."""
        self._was_reached = True

    def here(self, n_bytes: int) -> None:
        """Hear how many bytes are here: more than ever, and the count starts again.

        Bytes that were lost and have come again are no progress.
        """
        if n_bytes > self._most_bytes:
            self._most_bytes = n_bytes
            self._n_failed = 0

    def start_over(self) -> None:
        """Hear that what came was wrong, and that all of it is to come again."""
        self._most_bytes = 0
        self._n_failed = 0

    def failed(self, error: Transient, *, waits: bool = True) -> None:
        """Wait until the next try. Raises GaveUp and Stopped.

        ``waits`` False: the first failure in a row needs no waiting, for the next try is another.
        """
        self._n_failed += 1
        nobody_there = isinstance(error, NotReached) and not self._was_reached
        if nobody_there or self._n_failed >= self._patience.n_tries:
            raise GaveUp(error.reason)
        if not waits and self._n_failed == 1:
            return
        wait_s = self._patience.wait_s(self._n_failed, error.wait_s)
        self._on_wait(f"{error.reason}, again in {format_duration(wait_s)}")
        if self._stop.wait(wait_s):
            raise Stopped
