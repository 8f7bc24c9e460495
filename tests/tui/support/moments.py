"""``python -m tests.tui.support.moments MOMENT [FILE]``: the terminal UI, to be left at a moment.

It is the real app, started as ``localllm`` does; F1 brings the moment about, and a sentence on the
screen says that it is there.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from contextlib import aclosing

from localllm.core.policy import Policy
from localllm.session import LocalModel
from localllm.tui.app import LocalLLMApp
from localllm.tui.start import run
from localllm.tui.subject import Subject
from localllm.tui.threads import called, streamed
from localllm.units import GiB

HERE = "It is that moment."


class Mishap(Exception):
    """A bug."""


async def load(app: LocalLLMApp) -> None:
    """The engine reads a model from the disk: a part has come, and there is more.

    Beside it are threads that Python would wait for at its end.
    """
    threading.Thread(target=time.sleep, args=(600,)).start()
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)
    subject = Subject(name=sys.argv[2], wishes=Policy(n_ctx=512, repack=False))
    planned = await called(lambda: app.desk.plan(subject))
    model, plan = planned.decided.model, planned.plan
    assert isinstance(model, LocalModel)
    session = await called(app.desk.run_session)

    async def read() -> None:
        events = streamed(lambda: session.load(model, plan), stop=session.cancel)
        async with aclosing(events) as batches:
            async for _ in batches:
                pass

    app.run_worker(read())
    while (await called(session.resident_bytes) or 0) < GiB // 4:
        await asyncio.sleep(0.02)
    app.notify(HERE)


async def handler(app: LocalLLMApp) -> None:
    """A bug, while the engine's process runs."""
    await called(app.desk.run_session)
    raise Mishap("in a handler")


async def stuck(app: LocalLLMApp) -> None:
    """The loop is blocked."""
    os.write(1, HERE.encode())
    time.sleep(600)


MOMENTS = {each.__name__: each for each in (load, handler, stuck)}


def main() -> None:
    """Run the app whose F1 brings the moment."""

    def bring_about(app: LocalLLMApp) -> None:
        app.run_worker(MOMENTS[sys.argv[1]](app))

    LocalLLMApp.action_help = bring_about  # type: ignore[method-assign, assignment]  # a free key
    run(Subject())


if __name__ == "__main__":
    main()
