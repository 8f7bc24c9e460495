"""What tests of the Chat place do with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from textual.pilot import Pilot

from localllm.talking.settings import Settings
from localllm.tui.app import LocalLLMApp
from localllm.tui.chat.answer import AnswerView
from localllm.tui.chat.prompt_box import PromptBox
from localllm.tui.chat.question import QuestionView
from localllm.tui.chat.screen import ChatScreen
from tests.tui.support.snapshots import screen_text


async def until(pilot: Pilot[int], holds: Callable[[], object]) -> None:
    """Wait until something holds; unlike a pilot's pause, a look costs next to nothing."""
    for _ in range(3000):
        if holds():
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError(f"It never came to that:\n{screen_text(pilot.app)}")
    await pilot.pause()


def chat_of(app: LocalLLMApp) -> ChatScreen:
    assert isinstance(app.screen, ChatScreen)
    return app.screen


async def loaded(pilot: Pilot[int], screen: ChatScreen, settings: Settings) -> None:
    await until(pilot, lambda: screen.talks_to and screen.phase == "idle")
    screen.settings = replace(settings, recommended={})


async def send(pilot: Pilot[int], text: str) -> None:
    """Type over what stands in the prompt, and press enter."""
    prompt = pilot.app.screen.query_one(PromptBox)
    prompt.put(text)
    await pilot.press("enter")


async def answered(pilot: Pilot[int]) -> None:
    """Wait for the end of what has just been begun."""
    await asyncio.sleep(0.01)
    await until(pilot, lambda: not any(worker.group == "engine" for worker in pilot.app.workers))


async def generating(pilot: Pilot[int], screen: ChatScreen) -> None:
    await until(pilot, lambda: screen.phase == "answering" and screen.course.n_gen > 3)


def questions(screen: ChatScreen) -> list[str]:
    return [view.text for view in screen.query(QuestionView)]


def answers(screen: ChatScreen) -> list[str]:
    return [view.text for view in screen.query(AnswerView)]


def said(screen: ChatScreen) -> list[str]:
    assert screen.chat is not None
    return [message.content for message in screen.chat.messages]
