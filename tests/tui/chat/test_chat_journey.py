"""What a person does in the Chat place, with real engines: ask, stop, change, survive a death."""

from __future__ import annotations

import os
import signal
from datetime import datetime
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import Input, Markdown, TextArea

from localllm.core.policy import Policy
from localllm.records.conversations import ConversationStore
from localllm.records.entries import Entry
from localllm.talking.settings import Settings, changed
from localllm.tui.app import LocalLLMApp
from localllm.tui.chat.answer import AnswerView
from localllm.tui.chat.ask import AskDialog
from localllm.tui.chat.conversations import ConversationsDialog
from localllm.tui.chat.pick import PickDialog
from localllm.tui.chat.prompt_box import PromptBox
from localllm.tui.chat.system_dialog import SystemDialog
from localllm.tui.messages import ModelChosen
from localllm.tui.subject import Subject
from tests.support.processes import gone
from tests.tui.chat.driving import (
    answer_after,
    answered,
    answers,
    ask,
    chat_of,
    generating,
    loaded,
    questions,
    said,
    send,
)
from tests.tui.support.driving import drive, running, until
from tests.tui.support.snapshots import screen_text

GREEDY = changed(Settings(), "temp", "0")
ENDLESS = changed(changed(Settings(), "top_k", "0"), "seed", "1")


def began_before(store: ConversationStore) -> None:
    """Leave a conversation with the demo behind."""
    conversation = store.start(model="demo", now=datetime(2026, 11, 21))
    conversation.append(Entry(role="user", content="Long ago", time="2026-11-21T14:35:02+00:00"))
    conversation.close()


def pid_of(app: LocalLLMApp) -> int:
    engine = app.desk.run_session()._engine
    assert engine is not None and engine.pid is not None
    return engine.pid


def test_a_person_talks_with_the_demo_and_comes_back_to_it_later() -> None:
    async def test() -> None:
        async with running(place="chat") as (app, pilot):
            screen = chat_of(app)
            began_before(screen.store)
            await pilot.press("ctrl+o")
            await settled_dialog(pilot, ConversationsDialog, n=1)
            await pilot.press("enter")  # its model is loaded, as there is none yet
            await loaded(pilot, screen, GREEDY)
            assert app.subject.name == "demo" and questions(screen) == ["Long ago"]
            assert "demo Q8_0 · 2.76 MiB" in screen_text(app)
            await pilot.press("ctrl+n")
            await until(pilot, lambda: not questions(screen))

            await ask(pilot, "Which command shows the plan?")
            (first,) = answers(screen)
            assert said(screen) == ["Which command shows the plan?", first] and first
            assert screen.query_one(AnswerView).query_one(Markdown).source == first.strip("\n")
            assert "tok/s" in screen_text(app) and "est. " in screen_text(app)
            assert screen.figures is not None
            assert screen.figures.speed.answer.measured is not None

            await pilot.press("ctrl+y")
            await until(pilot, lambda: isinstance(app.screen, PickDialog))
            await pilot.press("enter")
            await until(pilot, lambda: app.clipboard == first)
            await pilot.press("shift+tab", "y")
            assert app.clipboard == first, "the last message has the focus"
            await pilot.press("up", "y", "escape")
            assert app.clipboard == "Which command shows the plan?"

            await answer_after(pilot, "ctrl+r")
            assert said(screen) == ["Which command shows the plan?", first], "greedy, so the same"
            assert screen.chat is not None and screen.chat.conversation.entries[-1].replaces_last

            await answer_after(pilot, "ctrl+e", "!", "enter")
            assert questions(screen) == ["Which command shows the plan?!"]
            assert len(said(screen)) == 2

            await pilot.press("ctrl+t")
            await until(pilot, lambda: isinstance(app.screen, SystemDialog))
            app.screen.query_one(TextArea).insert("Be brief.")
            await pilot.press("ctrl+s")
            await until(pilot, lambda: "system prompt: Be brief." in screen_text(app))
            assert screen.chat.system == "Be brief."

            first_id = screen.chat.conversation.header.id
            await pilot.press("ctrl+n")
            await until(pilot, lambda: not questions(screen))
            assert screen.chat.system == "Be brief."
            await ask(pilot, "And what is a watt?")

            await pilot.press("ctrl+o")
            await settled_dialog(pilot, ConversationsDialog, n=3)
            app.screen.query_one(Input).value = "PLAN which"
            await settled_dialog(pilot, ConversationsDialog, n=1)
            await pilot.press("enter")
            await until(pilot, lambda: len(questions(screen)) == 1)
            assert screen.chat.conversation.header.id == first_id
            assert questions(screen) == ["Which command shows the plan?!"]

            await pilot.press("ctrl+o")
            await settled_dialog(pilot, ConversationsDialog, n=3)
            app.screen.query_one(Input).value = "watt"
            await settled_dialog(pilot, ConversationsDialog, n=1)
            await pilot.press("ctrl+d")
            await until(pilot, lambda: isinstance(app.screen, AskDialog))
            await pilot.press("y")
            await settled_dialog(pilot, ConversationsDialog, n=0)
            assert len(screen.store.ids()) == 2
            await pilot.press("escape")

            prompt = screen.query_one(PromptBox)
            await pilot.press("up")
            assert prompt.text == "And what is a watt?", "what was typed comes back"

    drive(test)


async def settled_dialog(pilot: Pilot[int], kind: type[ConversationsDialog], *, n: int) -> None:
    """Wait until the dialog shows so many conversations."""

    def shows() -> bool:
        screen = pilot.app.screen
        return isinstance(screen, kind) and len(screen.choices) == n and not screen.searches

    await until(pilot, shows)


def test_an_answer_is_stopped_and_an_engine_that_dies_is_survived(slow_model: Path) -> None:
    subject = Subject(name=str(slow_model), wishes=Policy(n_ctx=2048, n_threads=1))

    async def test() -> None:
        async with running(subject=subject, place="chat") as (app, pilot):
            screen = chat_of(app)
            await loaded(pilot, screen, ENDLESS)
            await send(pilot, "Go on")
            await generating(pilot, screen)
            await send(pilot, "too early")
            assert screen.query_one(PromptBox).text == "too early", "what is not sent stays"
            await pilot.press("escape")
            await answered(pilot)
            (partial,) = answers(screen)
            assert said(screen) == ["Go on", partial] and partial
            assert "— stopped · " in screen_text(app)

            screen.query_one(PromptBox).put("")
            await pilot.press("ctrl+r")
            await generating(pilot, screen)
            pid = pid_of(app)
            os.kill(pid, signal.SIGKILL)
            await answered(pilot)
            assert gone(pid)
            (partial,) = answers(screen)
            assert said(screen) == ["Go on", partial] and partial
            shown = screen_text(app)
            assert "— cut: the engine died" in shown
            assert "SIGKILL" in shown and "What was said is kept." in shown
            assert "enter: load the model again and answer again" in shown
            assert screen.figures is None, "nothing is loaded"

            await pilot.press("enter")
            await generating(pilot, screen)
            assert "SIGKILL" not in screen_text(app)
            await pilot.press("escape")
            await answered(pilot)
            assert said(screen) == ["Go on", *answers(screen)]

            os.kill(pid_of(app), signal.SIGKILL)
            await send(pilot, "And now?")  # nobody had noticed: it is loaded and answered
            await generating(pilot, screen)
            await pilot.press("escape")
            await answered(pilot)
            assert questions(screen) == ["Go on", "And now?"] and len(said(screen)) == 4

            other = str(slow_model.with_name("other.gguf"))
            app.post_message(ModelChosen(other, place="chat"))
            await until(pilot, lambda: screen.situation.is_offer)
            await pilot.press("enter")
            await until(pilot, lambda: screen.situation.title == "Not found")
            assert "other.gguf" in screen_text(app)
            await send(pilot, "Still there?")
            await generating(pilot, screen)
            await pilot.press("escape")
            await answered(pilot)
            assert questions(screen)[-1] == "Still there?", "the loaded model goes on"

    drive(test)
