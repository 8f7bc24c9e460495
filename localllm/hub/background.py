"""Work that waits for servers, done in threads while the caller stays awake.

The caller's thread never waits in a socket: Ctrl-C acts at once, progress is told from the thread
that asked for it, and a server that says nothing for ever is left behind.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TypeVar

_Result = TypeVar("_Result")


class Stopped(Exception):
    """Nobody waits for this work any more: its ``stop`` was set."""


def running(
    tasks: Sequence[Callable[[], _Result]],
    *,
    limit: int,
    stop: threading.Event,
    name: str,
    tick_s: float = 0.1,
    join_s: float = 0.0,
) -> Generator[int, None, list[_Result]]:
    """Run ``tasks``, at most ``limit`` at once; return their results in order.

    Yields how many are not done, every ``tick_s`` and whenever a task has ended. The first error of
    a task is raised; one that came of ``stop`` only where there is no other, and ``Stopped`` where
    ``stop`` was set before all was done. On the way out by an error, and when it is closed,
    ``stop`` is set; tasks that have not heeded it after ``join_s`` are left to end by themselves.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(tasks)):
        waiting.put(index)
    done: queue.SimpleQueue[tuple[int, _Result | None, BaseException | None] | None]
    done = queue.SimpleQueue()  # None: a thread has ended

    def work() -> None:
        while not stop.is_set():
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                break
            try:
                done.put((index, tasks[index](), None))
            except BaseException as error:
                done.put((index, None, error))
        done.put(None)

    threads = [
        threading.Thread(target=work, name=name, daemon=True) for _ in range(min(limit, len(tasks)))
    ]
    results: dict[int, _Result] = {}
    n_working = len(threads)
    try:
        for thread in threads:
            thread.start()
        while len(results) < len(tasks):
            try:
                ended = done.get(timeout=tick_s)
            except queue.Empty:
                yield len(tasks) - len(results)
                continue
            if ended is None:
                n_working -= 1
                if n_working == 0:
                    raise Stopped
                continue
            index, result, error = ended
            if error is not None:
                raise error
            results[index] = result  # type: ignore[assignment]  # None only beside an error
            yield len(tasks) - len(results)
    except BaseException as error:
        stop.set()
        _join(threads, join_s)
        if isinstance(error, Stopped) and (cause := _other_error(done)) is not None:
            raise cause from None
        raise
    return [results[index] for index in range(len(tasks))]


def run_all(
    tasks: Sequence[Callable[[], _Result]],
    *,
    limit: int,
    stop: threading.Event,
    tick: Callable[[], None],
    tick_s: float = 0.1,
    deadline_s: float,
    overdue: Callable[[], Exception],
) -> list[_Result]:
    """Run ``tasks``, at most ``limit`` at once, and return their results in order.

    ``tick`` is called in this thread every ``tick_s`` or so; what it raises ends everything. The
    first error of a task is raised, ``overdue()`` when ``deadline_s`` have passed. On the way out
    by an error ``stop`` is set, and tasks that do not heed it are left to end by themselves.
    """
    ends_at_s = time.monotonic() + deadline_s
    work = running(tasks, limit=limit, stop=stop, name="localllm-header", tick_s=tick_s)
    with closing(work):
        while True:
            try:
                n_left = next(work)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # what running returns
            tick()
            if n_left and time.monotonic() > ends_at_s:
                raise overdue()


def _join(threads: Sequence[threading.Thread], join_s: float) -> None:
    """Wait for threads to end, not longer than so long for all of them."""
    until_s = time.monotonic() + join_s
    for thread in threads:
        if thread.ident is not None and (left_s := until_s - time.monotonic()) > 0:
            thread.join(left_s)


def _other_error(
    done: queue.SimpleQueue[tuple[int, _Result | None, BaseException | None] | None],
) -> BaseException | None:
    """Return an error that did not come of being stopped, where a task ended with one."""
    while True:
        try:
            ended = done.get_nowait()
        except queue.Empty:
            return None
        if ended is not None and ended[2] is not None and not isinstance(ended[2], Stopped):
            return ended[2]
