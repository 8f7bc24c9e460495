"""The terminal UI as ``localllm`` starts it, driven through a pipe: ``driven.py MODEL PLACE``.

Its standard input, output and error are a terminal. Commands are JSON lines on descriptor
``DRIVEN_IN``, answers to them on ``DRIVEN_OUT``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from localllm.core.policy import Policy  # noqa: E402  (after the path)
from localllm.tui.app import LocalLLMApp  # noqa: E402  (after the path)
from localllm.tui.chat.screen import ChatScreen  # noqa: E402  (after the path)
from localllm.tui.messages import Place  # noqa: E402  (after the path)
from localllm.tui.start import run  # noqa: E402  (after the path)
from localllm.tui.subject import Subject  # noqa: E402  (after the path)

BEAT_S = 0.02


class Driver:
    """What the script may ask for."""

    def __init__(self, app: LocalLLMApp) -> None:
        """Take the running app."""
        self._app = app
        self._beats: list[float] = []
        self._beating: asyncio.Task[None] | None = None

    @property
    def _chat(self) -> ChatScreen:
        return cast("ChatScreen", self._app.screen)

    async def ready(self) -> dict[str, Any]:
        """Wait until the model is loaded."""
        while not isinstance(self._app.screen, ChatScreen):
            await asyncio.sleep(0.05)
        chat = self._chat
        while chat.phase != "idle" or chat.chat is None or chat.chat.needs_load:
            await asyncio.sleep(0.05)
        plan = chat.chat.session.plan
        return {"n_threads": None if plan is None else plan.n_threads}

    async def ask(self, text: str, n: int, *, beats: bool) -> dict[str, Any]:
        """Ask, and return what the engine and this process took."""
        chat = self._chat
        chosen = {"temperature": 0.0, "seed": 1}
        chat.settings = replace(chat.settings, chosen=chosen, max_tokens=n)
        cpu_s, began_s = time.process_time(), time.monotonic()
        if beats:
            self._beats = []
            self._beating = asyncio.create_task(self._beat())
        await chat.ask(text).wait()
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None
        assert chat.chat is not None and chat.chat.last is not None
        stats = chat.chat.last.stats
        assert stats is not None
        return {
            **asdict(stats),
            "tg_tok_s": stats.tg_tok_s,
            "beats_s": self._beats,
            "cpu_s": time.process_time() - cpu_s,
            "wall_s": time.monotonic() - began_s,
        }

    async def new(self) -> dict[str, Any]:
        """Begin a new conversation."""
        self._chat.action_new()
        await asyncio.sleep(0.2)
        return {}

    async def idle(self, seconds: float) -> dict[str, Any]:
        """Do nothing for a while."""
        cpu_s = time.process_time()
        await asyncio.sleep(seconds)
        return {"cpu_s": time.process_time() - cpu_s}

    async def _beat(self) -> None:
        last_s = time.perf_counter()
        while True:
            await asyncio.sleep(BEAT_S)
            now_s = time.perf_counter()
            self._beats.append(now_s - last_s)
            last_s = now_s

    async def serve(self) -> None:
        """Do what is asked for, one thing after the other."""
        doing: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            "ready": self.ready,
            "ask": self.ask,
            "new": self.new,
            "idle": self.idle,
        }
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 20)
        pipe = os.fdopen(int(os.environ["DRIVEN_IN"]), "rb")
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        out = int(os.environ["DRIVEN_OUT"])
        while line := await reader.readline():
            wish = json.loads(line)
            answer = await doing[wish.pop("do")](**wish)
            os.write(out, json.dumps(answer).encode() + b"\n")


def main() -> None:
    """Run the app, with ears."""

    def on_ready(app: LocalLLMApp) -> None:
        app.run_worker(Driver(app).serve(), exclusive=False)

    LocalLLMApp.on_ready = on_ready  # type: ignore[attr-defined]  # Textual looks for the name
    model, place = sys.argv[1], cast("Place", sys.argv[2])
    gc.collect()
    wishes = Policy(n_ctx=int(os.environ.get("DRIVEN_CTX", "8192")))
    run(Subject(name=model, wishes=wishes), place=place)


if __name__ == "__main__":
    main()
