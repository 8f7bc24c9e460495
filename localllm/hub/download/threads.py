"""Calls that wait for a server or a disk, made in threads so that nobody else has to wait.

Whoever takes the result looks at ``stop`` ten times a second; a call that is left behind ends by
itself, at the latest when the server has been silent for the client's timeout.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self, TypeVar

from localllm.hub.background import Stopped
from localllm.hub.download.wanted import Body
from localllm.hub.http_refusals import Transient
from localllm.units import MiB

LOOK_S = 0.1
MOST_WAITING_BYTES = 2 * MiB
"""Received and not taken yet. Of 0.5 to 8 MiB this is the least that costs no speed: 1.5 GB from
loopback into memory and hashed in 2.3 s, in one thread 3.2 s (2 cores, Python 3.11)."""

_Result = TypeVar("_Result")


class Overdue(Transient):
    """There is no answer yet, though the server may be sending one all the time."""

    def __init__(self) -> None:
        """Say so, as the end of a sentence."""
        super().__init__("the server takes too long to answer")


def awaited(
    call: Callable[[], _Result], stop: threading.Event, *, limit_s: float = math.inf
) -> _Result:
    """Return what ``call`` does, or raise what it raises; Stopped as soon as ``stop`` is set.

    Overdue where it has not ended after ``limit_s``; it is left to end by itself.
    """
    done: queue.SimpleQueue[tuple[_Result | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            done.put((call(), None))
        except BaseException as error:
            done.put((None, error))

    ends_at_s = time.monotonic() + limit_s
    threading.Thread(target=work, name="localllm-wait", daemon=True).start()
    while True:
        if stop.is_set():
            raise Stopped
        if time.monotonic() > ends_at_s:
            raise Overdue
        try:
            result, error = done.get(timeout=LOOK_S)
        except queue.Empty:
            continue
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # None only beside an error


class Receiver:
    """An answer that is received in a thread of its own; use ``with``.

    What has come when the connection breaks is handed out before the error is.
    """

    def __init__(
        self,
        ask: Callable[[], AbstractContextManager[Body]],
        stop: threading.Event,
        *,
        limit_s: float = math.inf,
    ) -> None:
        """Ask at once. The methods raise what ``ask`` and its body do, and Stopped.

        ``limit_s``: for how long the answer may take to begin.
        """
        self._ask = ask
        self._stop = stop
        self._limit_s = limit_s
        self._changed = threading.Condition()
        self._pieces: list[bytes] = []
        self._n_waiting = 0
        self._starts_at: int | None = None
        self._is_over = False
        self._is_left = False
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        threading.Thread(target=self._receive, name="localllm-receive", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._is_left = True
            self._changed.notify_all()

    def starts_at(self) -> int:
        """Return where the first byte of the answer belongs, when it has begun.

        Raises Overdue where it takes too long to.
        """
        self._wait(lambda: self._starts_at is not None, limit_s=self._limit_s)
        if self._starts_at is None:
            raise self._error or AssertionError("an answer that ends has begun")
        return self._starts_at

    def batches(self) -> Iterator[bytes]:
        """Yield the bytes, as many at once as have come since the last."""
        while True:
            self._wait(lambda: bool(self._pieces))
            with self._changed:
                pieces, self._pieces, self._n_waiting = self._pieces, [], 0
                self._changed.notify_all()
            if pieces:
                yield pieces[0] if len(pieces) == 1 else b"".join(pieces)
            elif self._error is not None:
                raise self._error
            else:
                return

    def _wait(self, is_here: Callable[[], bool], *, limit_s: float = math.inf) -> None:
        """Wait for something, or for the end of the answer."""
        ends_at_s = time.monotonic() + limit_s
        with self._changed:
            while not (is_here() or self._is_over):
                if self._stop.is_set():
                    raise Stopped
                if time.monotonic() > ends_at_s:
                    raise Overdue
                self._changed.wait(LOOK_S)
        if self._stop.is_set():
            raise Stopped

    def _receive(self) -> None:
        try:
            with self._ask() as body:
                with self._changed:
                    self._starts_at = body.starts_at
                    self._changed.notify_all()
                for piece in body.pieces():
                    if not self._put(piece):
                        return
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _put(self, piece: bytes) -> bool:
        """Hand over a piece when there is room for it; False where nobody takes it any more."""
        with self._changed:
            while self._n_waiting >= MOST_WAITING_BYTES and not self._is_left:
                self._changed.wait()
            self._pieces.append(piece)
            self._n_waiting += len(piece)
            self._changed.notify_all()
            return not self._is_left
