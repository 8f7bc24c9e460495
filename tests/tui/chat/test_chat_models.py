"""Which model is talked to: one that is fetched first, one that does not fit, another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.core.policy import Policy
from localllm.talking.settings import Settings, changed
from localllm.tui.chat.screen import ChatScreen
from localllm.tui.fetching.dialog import FetchDialog
from localllm.tui.messages import SubjectChanged
from localllm.tui.subject import Subject
from tests.support.loopback_hub import LoopbackHub
from tests.tui.chat.driving import ask, chat_of, loaded, questions, send
from tests.tui.support.driving import drive, running, until
from tests.tui.support.model_hub import NAME, model_hub
from tests.tui.support.snapshots import screen_text

SHORT = changed(Settings(), "max_tokens", "3")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy_model: Path) -> Iterator[LoopbackHub]:
    with model_hub(monkeypatch, tmp_path, toy_model) as served:
        yield served


def test_a_model_is_fetched_and_a_plan_that_does_not_fit_leaves_the_loaded_one(
    hub: LoopbackHub,
) -> None:
    async def test() -> None:
        async with running(place="chat") as (app, pilot):
            screen = chat_of(app)
            assert "enter: choose a model" in screen_text(app)
            await send(pilot, "Anybody?")
            assert not questions(screen), "nobody is there to answer"

            wishes = Policy(n_ctx=512, n_threads=1)
            subject = Subject(name=NAME, wishes=wishes)
            screen.post_message(SubjectChanged(subject))
            await until(pilot, lambda: screen.situation.title == "Not here yet")
            assert f"{NAME}: 671.3 KiB to download" in screen_text(app)
            await send(pilot, "")
            await until(pilot, lambda: isinstance(app.screen, FetchDialog))
            dialog = app.screen
            assert isinstance(dialog, FetchDialog)
            await pilot.press("enter")
            await until(pilot, lambda: dialog.phase == "done")
            await pilot.press("enter")
            await loaded(pilot, screen, SHORT)
            await ask(pilot, "Hello")
            assert questions(screen) == ["Hello"]

            app.desk.release()  # as a benchmark does, which takes the engine
            assert app.desk.take_engine("bench")
            screen.consider()
            await until(pilot, lambda: screen.situation.title == "Not loaded any more")
            await send(pilot, "")
            await until(pilot, lambda: screen.situation.title == "A benchmark runs")
            app.desk.give_engine("bench")
            await ask(pilot, "Back again?")
            assert questions(screen)[-1] == "Back again?"
            assert screen.chat is not None and screen.chat.last is not None
            assert screen.chat.last.content

            small = replace(wishes, ram_budget_bytes=2**20)
            screen.post_message(SubjectChanged(replace(subject, wishes=small)))
            await until(pilot, lambda: screen.situation.is_offer)
            await send(pilot, "")
            await until(pilot, lambda: screen.situation.title == "It does not fit")
            assert "enter: go to the plan" in screen_text(app)
            await ask(pilot, "Still there?")
            assert questions(screen)[-1] == "Still there?"
            assert screen.chat is not None
            assert screen.chat.obtained.policy.ram_budget_bytes is None, "as it was loaded"

            screen.post_message(SubjectChanged(replace(subject, wishes=replace(small, depth=1))))
            await until(pilot, lambda: screen.situation.is_offer)
            await send(pilot, "")
            await until(pilot, lambda: screen.situation.title == "It does not fit")
            await send(pilot, "")
            await until(pilot, lambda: not isinstance(app.screen, ChatScreen))
            assert app.current_mode == "plan"

    drive(test)
