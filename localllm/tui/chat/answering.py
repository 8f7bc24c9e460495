"""From a question to its answer, whatever its end: shown, kept, and gone on from."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from textual import work
from textual.worker import Worker

from localllm.core.generation import Died, Event, TextDelta
from localllm.talking.chat import Chat
from localllm.tui.chat import situation as situations
from localllm.tui.chat.base import stopping
from localllm.tui.chat.loading import ChatLoading
from localllm.tui.chat.reporting import line_under, problems
from localllm.tui.threads import called, streamed
from localllm.words.failures import failure
from localllm.words.figures import rate
from localllm.words.loads import short_name

if TYPE_CHECKING:
    from localllm.talking.turn import Answer
    from localllm.tui.chat.answer import AnswerView

TEXT_PACE_S = 1 / 15
"""Between two batches of new text; how often it is drawn is the answer's to say."""


class ChatAnswering(ChatLoading):
    """The part of the place that answers."""

    def __init__(self) -> None:
        """Owe no answer."""
        super().__init__()
        self._owed = False
        """Whether a question came while the model was being loaded."""
        self._putting = asyncio.Lock()

    async def when_loaded(self, chat: Chat) -> None:
        """Answer what was asked meanwhile."""
        if await self._take_owed() and chat.messages and chat.messages[-1].role == "user":
            self._stand_fault(chat, await self._answer_now(chat, again=False))

    def forget_owed(self) -> None:
        """Owe nothing: another conversation is gone on with."""
        self._owed = False

    # -- what is begun ---------------------------------------------------------------------------

    def ask(self, question: str, *, instead: bool = False) -> Worker[None]:
        """Put a question, ``instead`` of the last one, and answer it."""
        chat = self.chat
        assert chat is not None

        async def do() -> None:
            if instead:
                await self.transcript.drop_question()
            await self._put(chat, question, instead=instead)
            await self._answer(chat, again=False)

        return self.begin(do, then=self.consider)  # another model may have been chosen meanwhile

    @work(group="question")
    async def owe(self, question: str) -> None:
        """Take a question while the model is loaded: it is answered afterwards."""
        assert self.chat is not None
        async with self._putting:
            await self._put(self.chat, question)
            self._owed = True

    async def _take_owed(self) -> bool:
        """Return, once, whether an answer is owed; waits for a question that is just taken."""
        async with self._putting:
            owed, self._owed = self._owed, False
            return owed

    def answer_again(self) -> None:
        """Answer the last question anew."""
        chat = self.chat
        if chat is not None:
            self.begin(lambda: self._answer(chat, again=True), then=self.consider)

    # -- one answer ------------------------------------------------------------------------------

    async def _put(self, chat: Chat, question: str, *, instead: bool = False) -> None:
        """Show a question and keep it, on a disk that may be slow."""
        say = chat.say_instead if instead else chat.say
        await self.transcript.ask(question)
        await called(lambda: say(question))

    async def _answer(self, chat: Chat, *, again: bool) -> None:
        self.stand(situations.CLEAR)
        with self._engine(self.answer_again) as has_it:
            if has_it:
                await self._answer_with_engine(chat, again=again)

    async def _answer_with_engine(self, chat: Chat, *, again: bool) -> None:
        if chat.needs_load and not await self._load_model(chat.obtained, self.answer_again):
            return
        await self._take_owed()  # this answers what was asked during the load, too
        answer = await self._answer_now(chat, again=again)
        fault = answer.fault
        if isinstance(fault, Died) and fault.phase == "idle" and not answer.content:
            await self.transcript.remark(fault.message)  # nothing was lost but the load
            if not await self._load_model(chat.obtained, self.answer_again):
                return
            await self._take_owed()
            answer = await self._answer_now(chat, again=again)
        self._stand_fault(chat, answer)

    async def _answer_now(self, chat: Chat, *, again: bool) -> Answer:
        """Ask the loaded model, and show what comes of it."""
        if again:
            await self.transcript.drop_answers()
        self._view = view = await self.transcript.begin_answer()
        stop = threading.Event()
        turn = chat.turn(again=again, stop=stop)
        end = stopping(stop, chat.session)
        self.course.asked(time.monotonic())
        try:
            with self._going("answering", end):
                events = streamed(
                    turn.events, pace_s=TEXT_PACE_S, gather_s=TEXT_PACE_S / 2, stop=end
                )
                async with aclosing(events) as batches:
                    async for batch in batches:
                        await self._show_batch(view, batch)
        finally:
            self._view = None
            self.course.ended(turn.answer)
        await self._show_end(chat, view, turn.answer)
        return turn.answer

    async def _show_batch(self, view: AnswerView, batch: list[Event]) -> None:
        now_s = time.monotonic()
        for event in batch:
            self.course.take(event, now_s)
            if isinstance(event, TextDelta):
                await view.take(event)
        await view.draw()

    async def _show_end(self, chat: Chat, view: AnswerView, answer: Answer) -> None:
        if view.has_text:
            await view.finish(line_under(chat, answer))
            last = chat.conversation.entries[-1]
            if last.role == "assistant" and last.content == answer.content:
                view.entry = last
        else:
            await view.remove()
        self._look()
        self.refresh_bindings()
        if self.app.screen is not self:
            self.notify(f"{rate(self.course.mean_tok_s)} tok/s", title="Chat: the answer is there")
        for problem in problems(chat):
            await self.transcript.remark(problem)

    def _stand_fault(self, chat: Chat, answer: Answer) -> None:
        """Say what ended an answer, if anything did, and what leads on."""
        fault = answer.fault
        if fault is None:
            return
        if self.desk.running is not chat.session:
            self.stand(
                situations.let_go(self.talks_to or short_name(chat.model_name)), self.answer_again
            )
            return
        said, lesson = bool(answer.content), chat.lesson
        self.stand(
            situations.died(fault, failure(fault), has_text=said, lesson=lesson), self.answer_again
        )
