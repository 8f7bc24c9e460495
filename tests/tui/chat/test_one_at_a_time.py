"""One thing goes on at a time in the Chat place, and each question gets one answer."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

from textual.app import App, ComposeResult

from localllm.core.policy import Policy
from localllm.talking.settings import Settings, changed
from localllm.tui.chat.message import MessageView
from localllm.tui.chat.prompt_box import PromptBox
from localllm.tui.chat.remark import Remark
from localllm.tui.chat.screen import ChatScreen
from localllm.tui.chat.transcript import MOST, Transcript
from localllm.tui.messages import SubjectChanged
from localllm.tui.subject import Subject
from tests.tui.chat.driving import (
    answered,
    chat_of,
    generating,
    loaded,
    questions,
    send,
)
from tests.tui.support.driving import drive, running, until
from tests.tui.support.snapshots import screen_text

SHORT = changed(changed(Settings(), "max_tokens", "3"), "top_k", "0")


def roles(screen: ChatScreen) -> list[str]:
    assert screen.chat is not None
    return [message.role for message in screen.chat.messages]


async def typed_while_it_loads(screen: ChatScreen, text: str) -> None:
    """Wait for the load, which is quick, and send something at once."""
    while screen.phase != "loading":
        assert screen.phase != "answering"
        await asyncio.sleep(0.001)
    typed(screen, text)


def typed(screen: ChatScreen, text: str) -> None:
    """Send something without waiting for anything."""
    screen.query_one(PromptBox).post_message(PromptBox.Sent(text))


def test_a_question_gets_one_answer_whatever_is_loaded_when_it_comes(slow_model: Path) -> None:
    subject = Subject(name=str(slow_model), wishes=Policy(n_ctx=2048, n_threads=1))

    async def test() -> None:
        async with running(subject=subject, place="chat") as (app, pilot):
            screen = chat_of(app)
            await loaded(pilot, screen, SHORT)
            await pilot.pause()
            assert app.planned is not None and screen.chat is not None
            assert app.planned.subject == subject
            assert app.planned.plan is screen.chat.session.plan, "the masthead shows it"

            app.desk.release()
            typed(screen, "One")
            await typed_while_it_loads(screen, "Two")
            await answered(pilot)
            assert questions(screen) == ["One", "Two"]
            assert roles(screen) == ["user", "assistant"], "what was asked last is answered, once"

            app.desk.release()
            screen.load_again()
            await typed_while_it_loads(screen, "Three")
            await answered(pilot)
            assert roles(screen)[2:] == ["user", "assistant"]

            app.desk.release()
            await screen.owe("Four").wait()  # as after a load that was stopped
            assert questions(screen)[-1] == "Four"
            await pilot.press("ctrl+n")
            await until(pilot, lambda: not questions(screen))
            screen.load_again()
            await answered(pilot)
            assert screen.chat.needs_load is False
            assert roles(screen) == [], "nobody asked anything here"

            typed(screen, "Five")
            typed(screen, "Six")
            await until(pilot, lambda: len(roles(screen)) == 2)
            await answered(pilot)
            assert questions(screen) == ["Five"] and roles(screen) == ["user", "assistant"]

            assert app.desk.take_engine("chat") and not app.desk.take_engine("bench")
            app.desk.give_engine("chat")
            assert app.desk.engine_holder is None

    drive(test)


def test_an_engine_that_dies_brings_no_other_model(slow_model: Path) -> None:
    subject = Subject(name=str(slow_model), wishes=Policy(n_ctx=2048, n_threads=1))
    other = replace(subject, name="demo")

    async def test() -> None:
        async with running(subject=subject, place="chat") as (app, pilot):
            screen = chat_of(app)
            await loaded(pilot, screen, changed(SHORT, "max_tokens", "2000"))
            talked_to = screen.talks_to
            screen.post_message(SubjectChanged(other))
            await until(pilot, lambda: screen.situation.is_offer)
            await pilot.press("escape")
            screen.consider()
            assert screen.situation.title == "", "what was dismissed is not offered again"
            await send(pilot, "Go on")
            await generating(pilot, screen)
            assert "chat" in app.activities and app.desk.engine_holder == "chat"
            engine = app.desk.run_session()._engine
            assert engine is not None and engine.pid is not None
            os.kill(engine.pid, signal.SIGKILL)
            await answered(pilot)
            screen.consider()
            assert screen.situation.is_fault and "SIGKILL" in screen_text(app)
            assert screen.talks_to == talked_to and app.desk.engine_holder is None

            await pilot.press("ctrl+n")
            await until(pilot, lambda: screen.situation.title == "")
            screen.post_message(SubjectChanged(replace(other, wishes=Policy(n_ctx=256))))
            await until(pilot, lambda: screen.situation.is_offer)
            assert "A question here loads the model you talked to again." in " ".join(
                screen.situation.text.split()
            )
            assert screen.talks_to == talked_to and screen.phase == "idle"

    drive(test)


def test_a_long_chat_keeps_few_messages_mounted_and_brings_the_others_back() -> None:
    class Parts(App[int]):
        def compose(self) -> ComposeResult:
            yield Transcript()

    async def test() -> None:
        app = Parts()
        async with app.run_test(size=(60, 20)) as pilot:
            transcript = app.query_one(Transcript)
            transcript.renders = False
            await transcript.remark("loaded")
            for number in range(30):
                await transcript.ask(f"question {number}")
                view = await transcript.begin_answer()
                view.show_figures(f"answer {number}")
                assert len(transcript.query(MessageView)) <= MOST
            await pilot.pause()
            assert "answer 29" in screen_text(app) and not app.query(Remark)

            for _ in range(20):
                transcript.scroll_home(animate=False, immediate=True)
                await pilot.pause()
                if "loaded" in screen_text(app):
                    break
            assert [view.text for view in app.query(MessageView)][::2] == [
                f"question {number}" for number in range(30)
            ]
            await transcript.ask("And now?")
            await pilot.pause()
            assert "And now?" in screen_text(app)
            assert len(app.query(MessageView)) == MOST - 1

    drive(test)
