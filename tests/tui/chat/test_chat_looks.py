"""How the Chat place looks in every situation, at both sizes, with figures that do not move."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from textual.screen import Screen
from textual.widgets import Input

from localllm.core.fetching import FileToFetch, ToFetch
from localllm.core.generation import Channel, Died, LoadNote, LoadProgress, TextDelta
from localllm.errors import DoesNotFitError
from localllm.records.conversations import ConversationStore
from localllm.records.entries import Entry
from localllm.session import resolve_model
from localllm.talking.settings import Settings
from localllm.tui.chat import base
from localllm.tui.chat import situation as situations
from localllm.tui.chat.answer import AnswerView
from localllm.tui.chat.conversations import ConversationsDialog
from localllm.tui.chat.copying import copyable
from localllm.tui.chat.pick import PickDialog
from localllm.tui.chat.progress import Load
from localllm.tui.chat.screen import ChatScreen
from localllm.tui.chat.settings_dialog import SettingsDialog
from localllm.tui.chat.situation import Situation
from localllm.tui.chat.system_dialog import SystemDialog
from localllm.tui.desk import Desk
from localllm.units import GiB
from localllm.words.failures import failure
from tests.tui.chat.side.test_panel import answered, being_answered
from tests.tui.support.driving import NARROW, WIDE, drive, running, until
from tests.tui.support.snapshots import check

TIME = "2026-11-21T14:35:02+00:00"
ANSWER = """\
Rotary embeddings **rotate** each pair of numbers by an angle that grows with the position:

1. the first pairs turn fast, the last ones slowly;
2. two positions differ by an angle, `not` by a place.

```python
def rotated(x, y, angle):
    return x * cos(angle) - y * sin(angle)
```
"""
SAID = (
    Entry(role="user", content="Explain rope scaling.\nBriefly.", time=TIME),
    Entry(
        role="assistant",
        content=ANSWER,
        reasoning="They mean *RoPE*, not ropes.",
        time=TIME,
        finish_reason="length",
    ),
)
WANTED = ToFetch(
    repo="maker/Large-GGUF",
    revision="main",
    commit="c" * 40,
    quant="Q4_K_M",
    files=(FileToFetch(path="large-Q4_K_M.gguf", n_bytes=40 * GiB, sha256=None),),
    free_bytes=100 * GiB,
    bytes_per_s=50e6,
)
DIED = Died(
    message="The GPU ran out of memory while answering (SIGABRT).",
    hint="Close what else uses it.",
    phase="generate",
    signal="SIGABRT",
    out_of_memory=True,
)
LESSON = "From the next load on 300 MiB more stay free on CUDA0: 30/33 layers on the GPU."


class Quiet(Desk):
    """Starts no engine: nothing is asked of one here."""

    def prepare_engine(self) -> None:
        """Leave it."""


def load() -> Situation:
    going = Load(resolve_model("demo"), began_s=0.0)
    going.take(LoadNote(text="CUDA0 has 600 MiB less free than planned. Now: 30/33 layers."))
    going.take(LoadProgress(fraction=0.42))
    return going.situation(12.0)


SITUATIONS = {
    "no-model": situations.NO_MODEL,
    "looking": situations.looking("maker/Large", said="looking at maker/Large-GGUF"),
    "absent": situations.absent(WANTED),
    "loading": load(),
    "unfit": situations.unfit(
        DoesNotFitError(
            "Large does not fit: short of 12.4 GiB on CUDA0.", hint="This would help: --ctx 4096."
        )
    ),
    "other": situations.other("llama-3-70b", is_same=False),
    "died": situations.died(DIED, failure(DIED), has_text=True, lesson=LESSON),
}


def kept(store: ConversationStore) -> None:
    """Two conversations of hours and days ago."""
    for hours, title in ((2, "Explain rope scaling."), (50, "What is a watt?")):
        conversation = store.start(model="demo", now=datetime(2026, 11, 21))
        for entry in (replace(SAID[0], content=title), SAID[1]):
            conversation.append(entry)
        conversation.close()
        assert conversation.path is not None
        used_s = time.time() - 3600 * hours - 60
        os.utime(conversation.path, (used_s, used_s))


def test_every_look_at_both_sizes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(base, "RESTING_S", 3600.0)

    async def test() -> None:
        async with running(place="chat", desk=Quiet()) as (app, pilot):
            screen = app.screen
            assert isinstance(screen, ChatScreen)
            kept(screen.store)

            async def dialog(name: str, opened: Screen[Any], typed: str = "") -> None:
                await app.push_screen(opened)
                if typed:
                    opened.query_one(Input).value = typed
                    await pilot.pause()
                    assert isinstance(opened, ConversationsDialog)
                    await until(pilot, lambda: not opened.searches)
                await pilot.pause()
                check(app, name)
                app.pop_screen()

            async def all_looks(size: tuple[int, int]) -> None:
                at = f"{size[0]}x{size[1]}"
                await pilot.resize_terminal(*size)
                screen.talks_to, screen.figures = None, None
                await screen.transcript.show(())
                for name, situation in SITUATIONS.items():
                    if name == "other":
                        screen.talks_to, screen.figures = "demo Q8_0", answered()
                        await screen.transcript.show(SAID)
                    screen.stand(situation)
                    await pilot.pause()
                    check(app, f"chat-{name}-{at}")
                screen.stand(situations.CLEAR)
                await pilot.pause()
                check(app, f"chat-answered-{at}")

                screen.figures = being_answered()
                await screen.transcript.show(SAID[:1])
                view = await begun(screen)
                screen.phase = "answering"
                await pilot.pause()
                check(app, f"chat-answering-{at}")
                screen.phase = "idle"
                await view.remove()

                store = screen.store
                await dialog(
                    f"chat-conversations-{at}", ConversationsDialog(store, current=None), "rope"
                )
                await dialog(f"chat-settings-{at}", SettingsDialog(Settings()))
                await dialog(f"chat-system-{at}", SystemDialog("Be brief."))
                conversation = store.open()
                await dialog(f"chat-copy-{at}", PickDialog[Any]("Copy", copyable(conversation)))
                conversation.close()

            for size in (NARROW, WIDE):
                await all_looks(size)

    drive(test)


async def begun(screen: ChatScreen) -> AnswerView:
    """An answer after 4 seconds of thought, and half a sentence."""
    now_s = 100.0
    view = AnswerView(clock=lambda: now_s)
    await screen.transcript.mount(view)
    pieces: list[tuple[float, Channel, str]] = [
        (100.0, "reasoning", "Hm."),
        (104.0, "reasoning", " Ropes?"),
        (104.1, "answer", "\n\nRotary embeddings **rotate**"),
    ]
    for n, (now_s, channel, text) in enumerate(pieces, start=1):  # noqa: B007  (the clock's)
        await view.take(TextDelta(text=text, channel=channel, n_tokens=n, tg_s=n / 10))
    await view.draw(now=True)
    return view
