"""The terminal UI from its start to a clean end: signals, processes, and the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading

from localllm.tui.app import LocalLLMApp
from localllm.tui.desk import Desk
from localllm.tui.messages import Place
from localllm.tui.subject import Subject

PATIENCE_S = 0.6
"""For the processes to end, once the terminal is the person's again."""


def run(subject: Subject, *, place: Place = "home") -> int:
    """Open the terminal UI and return the exit code; no process that it started is left.

    The terminal is given back first. What does not end in time (a thread in the middle of a read
    of many GB) ends with this process, and the children with their standard input.
    """
    desk = Desk()
    app = LocalLLMApp(desk=desk, subject=subject, place=place)
    try:
        code = asyncio.run(_until_left(app))
    finally:
        app.fetches.close()
        closing = threading.Thread(target=desk.close, name="localllm-tui-close", daemon=True)
        closing.start()
        closing.join(PATIENCE_S)
    if closing.is_alive():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


async def _until_left(app: LocalLLMApp) -> int:
    """Run the app; SIGTERM, SIGHUP and SIGINT end it as Ctrl-Q does, with their exit codes."""
    loop = asyncio.get_running_loop()
    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, app.exit, 128 + number)
    result = await app.run_async()
    return app.return_code or 0 if result is None else result
