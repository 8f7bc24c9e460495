"""The state of a chat: which model, which conversation, which settings, and what was measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from localllm.cli.chat.names import now_text, progress_text
from localllm.cli.chat.pump import Pump
from localllm.cli.chat.settings import Settings, recommended_sampling
from localllm.cli.chat.terminal import Interrupts, quiet_keyboard
from localllm.cli.chat.turn import Answer, run
from localllm.cli.obtaining import Obtained, reread
from localllm.cli.output import LiveLine, note
from localllm.core.generation import (
    ChatRequest,
    CompletionRequest,
    Died,
    Event,
    Failed,
    Loaded,
    LoadNote,
    LoadProgress,
    Message,
    PromptProgress,
)
from localllm.errors import EngineError
from localllm.records.entries import Entry
from localllm.session import Session
from localllm.words.failures import does_not_fit, failure

if TYPE_CHECKING:
    from localllm.cli.chat.view import View
    from localllm.core.metered.live import Live
    from localllm.session import Conversation, ConversationStore

_SHOW_LOAD_AFTER_S = 0.15


@dataclass(slots=True)
class Totals:
    """What a session has done so far."""

    n_answers: int = 0
    n_gen: int = 0
    n_prompt: int = 0
    n_cached: int = 0
    tg_s: float = 0.0
    prompt_s: float = 0.0


class Chat:
    """One model and one conversation at a time. Shells call this; it prints only load progress."""

    def __init__(
        self,
        *,
        session: Session,
        store: ConversationStore,
        conversation: Conversation,
        obtained: Obtained,
        obtain: Callable[[str], Obtained],
        settings: Settings,
        proves: bool = False,
    ) -> None:
        """Join the parts; nothing is loaded yet. ``proves``: every load fills its context once.

        ``obtain`` finds another model by its name, and downloads it where it must.
        """
        self.session, self.store, self.conversation = session, store, conversation
        self._obtained, self._obtain, self.settings = obtained, obtain, settings
        self._proves = proves
        self.interrupts = Interrupts(session.cancel)
        self.totals = Totals()
        self.last: Answer | None = None
        self.lesson: str | None = None
        """What the next load will do otherwise, after an answer that died of memory."""
        self._pump = Pump()
        self._needs_load = True
        self._was_loaded = False
        self._write_error: str | None = None

    # -- the model -----------------------------------------------------------------------------

    @property
    def needs_load(self) -> bool:
        """Whether no engine holds the model at the moment."""
        return self._needs_load

    @property
    def model_name(self) -> str:
        """What finds the model again."""
        return self._obtained.name

    def load(self) -> Loaded:
        """Plan and load the model, with progress on standard error.

        Raises DoesNotFitError (exit 3), EngineError (6) or what the engine refused with;
        KeyboardInterrupt when Ctrl-C stopped it.
        """
        if self._was_loaded:  # the file may be another one by now
            self._obtained = reread(self._obtained)
        self._was_loaded = True
        model, policy = self._obtained.model, self._obtained.policy
        plan = self.session.make_plan(model, policy, to_run=True)
        if plan.verdict != "fits":
            raise does_not_fit(plan)
        self._needs_load = True
        began_s = time.monotonic()
        with self.interrupts.handled(), quiet_keyboard(), LiveLine() as line:
            for event in self._pump.events(
                lambda: self.session.load(
                    model, plan, policy, asked=self._obtained.asked, proves=self._proves
                )
            ):
                if isinstance(event, LoadProgress):
                    if time.monotonic() - began_s > _SHOW_LOAD_AFTER_S:
                        line.draw(progress_text(event.fraction, model))
                elif isinstance(event, LoadNote):
                    line.wipe()
                    note(event.text)
                elif isinstance(event, PromptProgress):
                    line.draw(f"proving the context: {event.n_done:,}/{event.n_total:,} tokens")
                elif isinstance(event, Loaded):
                    self._needs_load = False
                    wishes = recommended_sampling(model.spec.metadata)
                    self.settings = replace(self.settings, recommended=wishes)
                    return event
                elif isinstance(event, Failed | Died):
                    if self.interrupts.stopped:
                        raise KeyboardInterrupt
                    raise failure(event)
        raise EngineError("The engine ended the load without a word.")  # a broken protocol

    def switch(self, name: str) -> Loaded:
        """Load another model and go on with it; the old one stays the choice when that fails."""
        before, self._obtained = self._obtained, self._obtain(name)
        self._was_loaded = False
        try:
            return self.load()
        except BaseException:
            self._obtained = before
            raise

    # -- the conversation ----------------------------------------------------------------------

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation as the next request would continue it."""
        return self.conversation.messages

    @property
    def system(self) -> str | None:
        """The system prompt in force."""
        first = self.messages[:1]
        return first[0].content if first and first[0].role == "system" else None

    @system.setter
    def system(self, text: str | None) -> None:
        self._written(lambda: self.conversation.set_system(text or None, time=now_text()))

    def say(self, text: str) -> None:
        """Add a question of the user."""
        self._append(Entry(role="user", content=text, time=now_text()))

    def can_ask_again(self) -> bool:
        """Whether there is a question to answer, anew or for the first time."""
        return any(message.role == "user" for message in self.messages)

    def answer(
        self, view: View, *, again: bool = False, completion: CompletionRequest | None = None
    ) -> Answer:
        """Answer the conversation and keep the answer, also one that was cut short.

        With ``again`` the last answer is left out of the request and replaced by the new one; with
        ``completion`` that is asked instead and nothing is kept.
        Raises KeyboardInterrupt when the user left in the middle; the partial answer is kept.
        """
        if completion is not None:
            answer = self._run(lambda: self.session.complete(completion), view, Answer())
            self._reconcile(answer)
            return answer
        messages = self.messages
        if again and messages[-1].role == "assistant":
            messages = messages[:-1]
        request = ChatRequest(
            messages=messages,
            sampling=self.settings.sampling,
            max_tokens=self.settings.max_tokens,
            stop=self.settings.stop,
            template_kwargs=self.settings.template_kwargs,
            context_shift=self.settings.context_shift,
        )
        answer = Answer(reason="cancelled")
        try:
            self._run(lambda: self.session.chat(request), view, answer)
        finally:
            self._finish(answer, replaces=len(messages) < len(self.messages))
        return answer

    def start_over(self) -> None:
        """Begin a new conversation with the same system prompt."""
        system, model = self.system, self.session.model
        self.conversation.close()
        self.conversation = self.store.start(
            model=self.model_name,
            content_id=model.content_id if model is not None else None,
            system=system,
            now=datetime.now(),
        )
        self.last = None

    def continue_with(self, conversation: Conversation) -> None:
        """Take up another conversation."""
        self.conversation.close()
        self.conversation = conversation
        self.last = None

    def close(self) -> None:
        """Give the conversation's file free; the session is its owner's to close."""
        self.conversation.close()

    # -- what was measured ---------------------------------------------------------------------

    def live(self) -> Live:
        """Return the watts of this moment."""
        meters = self.session.measuring.meters
        if meters is not None:
            return meters.live()
        from localllm.core.metered.live import Live

        return Live()

    def write_error(self) -> str | None:
        """Return, once, why the conversation cannot be kept."""
        error, self._write_error = self._write_error, None
        return error

    def _run(self, start: Callable[[], Iterator[Event]], view: View, answer: Answer) -> Answer:
        with self.interrupts.handled():
            return run(self._pump, start, view, answer)

    def _finish(self, answer: Answer, *, replaces: bool) -> None:
        self.last = answer
        if isinstance(answer.fault, Died | Failed):
            self.lesson = self.session.after_death(answer.fault)
            if isinstance(answer.fault, Died) or self.lesson is not None:
                self._needs_load = True
        self._reconcile(answer)
        stats = answer.stats
        if stats is not None:
            self.totals = replace(
                self.totals,
                n_answers=self.totals.n_answers + 1,
                n_gen=self.totals.n_gen + stats.n_gen,
                n_prompt=self.totals.n_prompt + stats.n_prompt,
                n_cached=self.totals.n_cached + stats.n_cached,
                tg_s=self.totals.tg_s + stats.tg_s,
                prompt_s=self.totals.prompt_s + stats.prompt_s,
            )
        if answer.content or answer.reason == "stop":
            self._append(
                Entry(
                    role="assistant",
                    content=answer.content,
                    reasoning=answer.reasoning,
                    time=now_text(),
                    finish_reason=answer.finish_reason,
                    stats=stats,
                    model=self.model_name,
                    replaces_last=replaces,
                )
            )

    def _reconcile(self, answer: Answer) -> None:
        """Keep what was measured beside its estimate, also that of an answer that was stopped."""
        if answer.finished is not None:
            answer.energy = self.session.measuring.keep_answer(answer.finished)

    def _append(self, entry: Entry) -> None:
        self._written(lambda: self.conversation.append(entry))

    def _written(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            self.conversation.forget_file()
            self._write_error = error.strerror or str(error)
