"""Engine events from a thread of their own: the screen moves also while the engine is silent."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

E = TypeVar("E")

TICK_S = 0.08


class _End:
    """The iterator is exhausted."""


class Pump:
    """Runs one request at a time on one lasting thread."""

    def __init__(self) -> None:
        """Start the thread; it is a daemon and ends with the process."""
        self._jobs: queue.SimpleQueue[
            tuple[Callable[[], Iterator[object]], queue.SimpleQueue[Any]]
        ] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="localllm-chat-pump", daemon=True).start()

    def events(self, start: Callable[[], Iterator[E]]) -> Iterator[E | None]:
        """Yield the events of ``start()`` as they come, and None after each ``TICK_S`` without one.

        Whoever stops early has to cancel the request: it goes on, unheard, to its end.
        """
        items: queue.SimpleQueue[E | BaseException | _End] = queue.SimpleQueue()
        self._jobs.put((start, items))
        while True:
            try:
                item = items.get(timeout=TICK_S)
            except queue.Empty:
                yield None
                continue
            if isinstance(item, _End):
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def _work(self) -> None:
        while True:
            start, items = self._jobs.get()
            try:
                for event in start():
                    items.put(event)
                items.put(_End())
            except BaseException as error:
                items.put(error)
