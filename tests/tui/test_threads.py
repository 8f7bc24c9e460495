"""Blocking work beside the loop: batches in order, errors, leaving early."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from localllm.tui.threads import called, streamed


def test_a_call_returns_what_the_thread_returns() -> None:
    main = threading.current_thread()
    assert asyncio.run(called(threading.current_thread)) is not main


def test_a_call_raises_what_the_thread_raises() -> None:
    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(called(fails))


def test_a_call_that_nobody_waits_for_ends_alone() -> None:
    release, ended = threading.Event(), threading.Event()

    def work() -> None:
        release.wait(10)
        ended.set()

    async def leave() -> None:
        task = asyncio.create_task(called(work))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        release.set()

    asyncio.run(leave())
    assert ended.wait(10)


@pytest.mark.parametrize("pace_s", [0.0, 0.005])
def test_every_item_comes_once_and_in_order(pace_s: float) -> None:
    async def collect() -> list[int]:
        found: list[int] = []
        async with aclosing(streamed(lambda: iter(range(5000)), pace_s=pace_s)) as batches:
            async for batch in batches:
                assert batch
                found += batch
        return found

    assert asyncio.run(collect()) == list(range(5000))


def test_what_came_before_an_error_comes_first() -> None:
    def breaks() -> Iterator[int]:
        yield 1
        raise RuntimeError("broke")

    async def collect() -> list[int]:
        found: list[int] = []
        with pytest.raises(RuntimeError, match="broke"):
            async with aclosing(streamed(breaks)) as batches:
                async for batch in batches:
                    found += batch
        return found

    assert asyncio.run(collect()) == [1]


def test_leaving_stops_the_source_and_closes_it_in_its_own_thread() -> None:
    stopped, closed_in = threading.Event(), []
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            yield 1
            stopped.wait(10)
            yield 2
        finally:
            closed_in.append(threading.current_thread().name)
            closed.set()

    async def leave() -> None:
        async with aclosing(streamed(endless, stop=stopped.set)) as batches:
            async for _ in batches:
                break

    asyncio.run(leave())
    assert closed.wait(10)
    assert closed_in == ["localllm-tui-stream"]
