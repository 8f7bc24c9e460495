"""Work that waits for servers, done in threads while the caller stays awake.

The caller's thread never waits in a socket: Ctrl-C acts at once, progress is told from the thread
that asked for it, and a server that says nothing for ever is left behind.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

_Result = TypeVar("_Result")


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
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(tasks)):
        waiting.put(index)
    done: queue.SimpleQueue[tuple[int, _Result | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        while not stop.is_set():
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((index, tasks[index](), None))
            except BaseException as error:
                done.put((index, None, error))

    for _ in range(min(limit, len(tasks))):
        threading.Thread(target=work, name="localllm-header", daemon=True).start()
    results: dict[int, _Result] = {}
    ends_at_s = time.monotonic() + deadline_s
    try:
        while len(results) < len(tasks):
            try:
                index, result, error = done.get(timeout=tick_s)
            except queue.Empty:
                if time.monotonic() > ends_at_s:
                    raise overdue() from None
            else:
                if error is not None:
                    raise error
                results[index] = result  # type: ignore[assignment]  # None only beside an error
            tick()
    except BaseException:
        stop.set()
        raise
    return [results[index] for index in range(len(tasks))]
