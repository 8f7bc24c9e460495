"""What tests of the Chat place do with it."""

from __future__ import annotations

from dataclasses import replace

from textual.pilot import Pilot

from localllm.talking.settings import Settings
from localllm.tui.app import LocalLLMApp
from localllm.tui.chat.answer import AnswerView
from localllm.tui.chat.prompt_box import PromptBox
from localllm.tui.chat.question import QuestionView
from localllm.tui.chat.screen import ChatScreen
from tests.tui.support.driving import until


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
    """Wait for the end of what the engine is busy with."""
    await until(pilot, lambda: not any(worker.group == "engine" for worker in pilot.app.workers))


async def answer_after(pilot: Pilot[int], *keys: str) -> None:
    """Press keys that ask for an answer, and wait until it is kept."""
    chat = chat_of(pilot.app).chat  # type: ignore[arg-type]  # the pilot's app is ours
    assert chat is not None
    entries = chat.conversation.entries
    n_before = len(entries)
    await pilot.press(*keys)
    await until(pilot, lambda: [entry.role for entry in entries[n_before:]][-1:] == ["assistant"])
    await answered(pilot)


async def ask(pilot: Pilot[int], text: str) -> None:
    """Ask, and wait for the answer."""
    pilot.app.screen.query_one(PromptBox).put(text)
    await answer_after(pilot, "enter")


async def generating(pilot: Pilot[int], screen: ChatScreen) -> None:
    await until(pilot, lambda: screen.phase == "answering" and screen.course.n_gen > 3)


def questions(screen: ChatScreen) -> list[str]:
    return [view.text for view in screen.query(QuestionView)]


def answers(screen: ChatScreen) -> list[str]:
    return [view.text for view in screen.query(AnswerView)]


def said(screen: ChatScreen) -> list[str]:
    assert screen.chat is not None
    return [message.content for message in screen.chat.messages]
