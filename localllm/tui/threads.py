"""Blocking work beside the event loop, in daemon threads of our own.

Textual's thread workers run in the loop's own executor, which is waited for when the app ends: a
load of 40 GB would hold the quit. A thread that nobody waits for ends with the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

AT_ONCE_S = 0.001
"""An item that takes longer had to be waited for."""


async def called(work: Callable[[], T]) -> T:
    """Return what ``work`` returns, or raise what it raises; it runs in a thread.

    Whoever stops waiting lets go of the result: the thread itself cannot be stopped.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # the loop's side raises it: nothing is lost
            _post(loop, _settle, future, None, error)
        else:
            _post(loop, _settle, future, result, None)

    threading.Thread(target=run, name="localllm-tui-call", daemon=True).start()
    return await future


async def streamed(
    start: Callable[[], Iterator[T]],
    *,
    pace_s: float = 0.0,
    gather_s: float = 0.0,
    stop: Callable[[], None] | None = None,
) -> AsyncGenerator[list[T]]:
    """Yield the items of a blocking iterator in batches: everything that came since the last one.

    ``pace_s``: at least so long from batch to batch, so that a fast stream costs few redraws.
    ``gather_s``: an item that had to be waited for is followed by a sleep, for a source that
    goes on unasked: each wake-up of the thread takes a processor from the engine for a moment.
    Leaving early calls ``stop``, from the loop's thread, and closes the iterator in its own
    thread, which nobody waits for. Use it in ``async with aclosing(...)``.
    """
    loop = asyncio.get_running_loop()
    items: deque[T] = deque()
    news = asyncio.Event()
    left = threading.Event()
    told = False
    """Whether the loop has been woken since it last looked: one wake-up is enough for many."""
    end: asyncio.Future[None] = loop.create_future()

    def run() -> None:
        nonlocal told
        failure: BaseException | None = None
        try:
            with contextlib.ExitStack() as stack:
                if left.is_set():  # left before it began: nothing is asked of the machine
                    return
                iterator = start()
                close = getattr(iterator, "close", None)
                if close is not None:
                    stack.callback(close)
                asked_s = time.monotonic()
                for item in iterator:
                    items.append(item)
                    if left.is_set():
                        break
                    if not told:
                        told = True
                        _post(loop, news.set)
                    if gather_s and time.monotonic() - asked_s > AT_ONCE_S:
                        left.wait(gather_s)
                    asked_s = time.monotonic()
        except BaseException as error:  # the loop's side raises it: nothing is lost
            failure = error
        finally:
            _post(loop, _settle, end, None, failure)
            _post(loop, news.set)

    threading.Thread(target=run, name="localllm-tui-stream", daemon=True).start()
    try:
        while True:
            await news.wait()
            news.clear()
            told = False  # before looking: what comes from now on wakes the loop again
            batch = _drained(items)
            if batch:
                yield batch
            elif end.done():
                end.result()
                return
            if end.done():
                news.set()  # the rest, and then the end, without waiting
            elif pace_s:
                await asyncio.wait([end], timeout=pace_s)
    finally:
        if not end.done():
            left.set()
            end.add_done_callback(_heard)
            if stop is not None:
                stop()
        else:
            _heard(end)


def _drained(items: deque[T]) -> list[T]:
    batch = []
    while items:
        batch.append(items.popleft())
    return batch


def _settle(future: asyncio.Future[T], result: T, error: BaseException | None) -> None:
    if future.done():  # nobody waits any longer
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _heard(future: asyncio.Future[None]) -> None:
    """Look at an end that nobody waits for, so that asyncio does not complain of it."""
    if not future.cancelled():
        future.exception()


def _post(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has been closed: the app is gone
        loop.call_soon_threadsafe(call, *args)
