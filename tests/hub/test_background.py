"""Tasks in threads, and a caller that may leave at any time."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from localllm.hub.background import Stopped, running

WITHIN_S = 5.0


def results(tasks: list[Callable[[], int]], *, limit: int = 4) -> list[int]:
    work = running(tasks, limit=limit, stop=threading.Event(), name="test", tick_s=0.01)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return list(end.value)


def test_results_come_in_order_however_few_run_at_once() -> None:
    second = threading.Event()

    def first() -> int:
        assert second.wait(WITHIN_S)
        return 1

    def after() -> int:
        second.set()
        return 2

    assert results([first, after], limit=2) == [1, 2]
    assert results([lambda: 1, lambda: 2, lambda: 3], limit=1) == [1, 2, 3]
    assert results([]) == []


def test_an_error_is_not_hidden_by_what_it_stopped() -> None:
    stop, failed = threading.Event(), threading.Event()

    def heeds() -> int:
        assert stop.wait(WITHIN_S)
        raise Stopped

    def fails() -> int:
        stop.set()
        assert failed.wait(WITHIN_S)
        raise ValueError("why")

    work = running([heeds, fails], limit=2, stop=stop, name="test", tick_s=0.01, join_s=WITHIN_S)
    failed.set()
    with pytest.raises(ValueError, match="why"):
        list(work)


def test_what_was_stopped_before_its_end_has_no_results() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        list(running([lambda: 1], limit=1, stop=stop, name="test"))


def test_to_close_it_stops_the_tasks_and_waits_for_them() -> None:
    stop, ended = threading.Event(), threading.Event()

    def heeds() -> None:
        assert stop.wait(WITHIN_S)
        ended.set()

    work = running([heeds], limit=1, stop=stop, name="test", tick_s=0.01, join_s=WITHIN_S)
    assert next(work) == 1
    work.close()
    assert ended.is_set()


def test_a_task_that_does_not_heed_is_left_behind() -> None:
    goes_on = threading.Event()
    work = running(
        [lambda: goes_on.wait(WITHIN_S)],
        limit=1,
        stop=threading.Event(),
        name="test",
        tick_s=0.01,
        join_s=0.01,
    )
    next(work)
    work.close()
    goes_on.set()
