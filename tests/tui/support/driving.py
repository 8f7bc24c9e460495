"""An app that a test drives: the real one, over a real desk, without a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from textual.app import App
from textual.pilot import Pilot

from localllm.core.hardware import Hardware
from localllm.tui.app import LocalLLMApp
from localllm.tui.appearance import Appearance
from localllm.tui.desk import Desk
from localllm.tui.messages import Place
from localllm.tui.subject import Subject

NARROW = (80, 24)
WIDE = (120, 34)


def drive(test: Callable[[], Awaitable[None]]) -> None:
    """Run an ``async`` test: `drive(test)` at the end of a plain one."""

    async def run() -> None:
        await test()

    asyncio.run(run())


@asynccontextmanager
async def running(
    *,
    subject: Subject | None = None,
    place: Place = "home",
    size: tuple[int, int] = NARROW,
    machine: Hardware | None = None,
    exact: bool = False,
    desk: Desk | None = None,
    appearance: Appearance | None = None,
) -> AsyncIterator[tuple[LocalLLMApp, Pilot[int]]]:
    """Open the whole app; its desk is closed at the end, with every process of it."""
    desk = desk or Desk(machine=machine, exact=exact)
    app = LocalLLMApp(desk=desk, subject=subject, place=place, appearance=appearance)
    try:
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            yield app, pilot
    finally:
        desk.close()


async def until(pilot: Pilot[int], holds: Callable[[], object], *, timeout_s: float = 30.0) -> None:
    """Wait until something holds; a failure shows the screen as it then was.

    Unlike a pilot's pause, which asks every widget, a look costs next to nothing.
    """
    from tests.tui.support.snapshots import screen_text

    loop = asyncio.get_running_loop()
    until_s = loop.time() + timeout_s
    while not holds():
        if loop.time() > until_s:
            raise AssertionError(f"It never came to that:\n{screen_text(pilot.app)}")
        await asyncio.sleep(0.02)
    await pilot.pause()


async def settled(app: App[int]) -> None:
    """Wait until no worker of the app runs."""
    await app.workers.wait_for_complete()
