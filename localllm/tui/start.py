"""The terminal UI from its start to a clean end: signals, processes, and the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NoReturn

from localllm.tui.app import LocalLLMApp
from localllm.tui.appearance import appearance_here
from localllm.tui.desk import Desk
from localllm.tui.leaving import Leaving
from localllm.tui.messages import Place
from localllm.tui.subject import Subject
from localllm.tui.terminal import Terminal, stderr_drawn_on

if TYPE_CHECKING:
    from rich.console import RenderableType


def run(subject: Subject, *, place: Place = "home") -> NoReturn:
    """Open the terminal UI and end the process with its exit code; no process of it is left.

    Within a second of the wish to leave: 0, 128 and the number after a signal, 1 after a bug (its
    traceback is printed).
    """
    terminal, desk = Terminal(), Desk()
    is_drawn = threading.Event()

    def insist(code: int) -> None:
        if is_drawn.is_set():
            terminal.give_back()
        os._exit(code)

    leaving = Leaving(insist=insist)
    app = _App(leaving, desk=desk, subject=subject, place=place)
    code = 1
    try:
        with stderr_drawn_on():
            code = asyncio.run(_until_left(app, leaving, is_drawn))
    except Exception:  # a bug in how the app ends; of others Textual prints the traceback
        traceback.print_exc()
    finally:
        leaving.begin(code)  # a bug has not said so
        terminal.finish()
        app.fetches.close()
        desk.close()
        with contextlib.suppress(OSError):  # the terminal has gone
            sys.stdout.flush()
            sys.stderr.flush()
        # Python's own end would wait for threads, and close the generators that they were in.
        os._exit(code)


class _App(LocalLLMApp):
    """The app, whose end is watched."""

    def __init__(
        self, leaving: Leaving, *, desk: Desk, subject: Subject | None, place: Place
    ) -> None:
        super().__init__(desk=desk, subject=subject, place=place, appearance=appearance_here())
        self._leaving = leaving
        self._settled: set[str] = set()

    def on_ready(self) -> None:
        """Look for garbage less often, and not among what every place is made of."""
        gc.set_threshold(20_000, 20, 20)
        self._settle(self.current_mode)
        self.mode_change_signal.subscribe(self, self._settle)

    def _settle(self, mode: str) -> None:
        if mode not in self._settled:
            self._settled.add(mode)
            self.call_after_refresh(gc.freeze)

    def exit(
        self,
        result: int | None = None,
        return_code: int = 0,
        message: RenderableType | None = None,
    ) -> None:
        """Leave; the process ends soon."""
        self._leaving.begin(return_code if result is None else result)
        super().exit(result, return_code, message)


async def _until_left(app: _App, leaving: Leaving, is_drawn: threading.Event) -> int:
    """Run the app; signals end it as Ctrl-Q does. ``is_drawn``: set while the terminal is its."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(_Unwaited())

    def leave(code: int) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: so has the app
            loop.call_soon_threadsafe(app.exit, code)

    leaving.hear_signals(leave)
    is_drawn.set()
    try:
        result = await app.run_async()
    finally:
        is_drawn.clear()
    return app.return_code or 0 if result is None else result


class _Unwaited(ThreadPoolExecutor):
    """Textual parses long Markdown in the loop's executor: the end of the loop waits for none."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work, and leave what runs alone."""
        super().shutdown(wait=False, cancel_futures=True)
