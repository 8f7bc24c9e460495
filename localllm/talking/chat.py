"""The state of a chat: which model, which conversation, which settings, and what was measured."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from localllm.core.generation import (
    ChatRequest,
    CompletionRequest,
    Died,
    Failed,
    Loaded,
    Message,
)
from localllm.core.plan import Plan
from localllm.core.totals import Totals
from localllm.errors import EngineError
from localllm.records.entries import Entry
from localllm.session import Session
from localllm.talking.obtained import Obtained, reread
from localllm.talking.settings import Settings, recommended_sampling
from localllm.talking.turn import Answer, Turn, until_stopped
from localllm.words.failures import does_not_fit

if TYPE_CHECKING:
    from localllm.core.metered.live import Live
    from localllm.running import RunEvent
    from localllm.session import Conversation, ConversationStore


class Chat:
    """One model and one conversation at a time. Shells call this; it draws nothing.

    What blocks (``plan_load``, ``loading``, a turn) is for one thread at a time, whichever; the
    properties may be read from another meanwhile.
    """

    def __init__(
        self,
        *,
        session: Session,
        store: ConversationStore,
        conversation: Conversation,
        obtained: Obtained,
        settings: Settings,
        proves: bool = False,
    ) -> None:
        """Join the parts; nothing is loaded yet. ``proves``: every load fills its context once."""
        self.session, self.store, self.conversation = session, store, conversation
        self.settings = settings
        self.totals = Totals()
        self.last: Answer | None = None
        self.lesson: str | None = None
        """What the next load will do otherwise, after an answer that died of memory."""
        self._obtained = obtained
        self._proves = proves
        self._loaded: Obtained | None = None
        self._held: Loaded | None = None
        self._was_planned = False
        self._write_error: str | None = None

    # -- the model -----------------------------------------------------------------------------

    @property
    def needs_load(self) -> bool:
        """Whether no engine holds the chosen model at the moment."""
        held = self.session.loaded  # another shell of the same session may have loaded its own
        return self._loaded is not self._obtained or held is None or held is not self._held

    @property
    def obtained(self) -> Obtained:
        """The model that is talked to, or will be after the next load."""
        return self._obtained

    @property
    def model_name(self) -> str:
        """What finds the model again."""
        return self._obtained.name

    def choose(self, obtained: Obtained, *, is_fresh: bool = True) -> None:
        """Go on with another model from the next load on.

        ``is_fresh``: its files have just been read, and need not be before that load.
        """
        self._obtained = obtained
        self._was_planned = not is_fresh

    def plan_load(self) -> Plan:
        """Return the plan of the next load. Raises DoesNotFitError (exit 3), UsageError."""
        if self._was_planned:  # the file may be another one by now
            self._obtained = reread(self._obtained)
        self._was_planned = True
        plan = self.session.make_plan(self._obtained.model, self._obtained.policy, to_run=True)
        if plan.verdict != "fits":
            raise does_not_fit(plan)
        return plan

    def loading(self, plan: Plan, *, stop: threading.Event | None = None) -> Generator[RunEvent]:
        """Load the model; yields progress and notes, then ``Loaded``, ``Failed`` or ``Died``.

        ``stop``: set, and the session cancelled, to give it up; nothing is yielded where it was
        set before. Raises EngineError where the engine ends without a word.
        """
        obtained, self._loaded = self._obtained, None
        ended = False
        for event in until_stopped(
            lambda: self.session.load(
                obtained.model, plan, obtained.policy, asked=obtained.asked, proves=self._proves
            ),
            stop,
            self.session.cancel,
        ):
            if isinstance(event, Loaded):
                self._loaded, self._held = obtained, event
                wishes = recommended_sampling(obtained.model.spec.metadata)
                self.settings = replace(self.settings, recommended=wishes)
            ended = ended or isinstance(event, Loaded | Failed | Died)
            yield event
        if not ended and not (stop is not None and stop.is_set()):
            raise EngineError("The engine ended the load without a word.")  # a broken protocol

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

    @property
    def last_question(self) -> str | None:
        """What was asked last; None before the first question."""
        asked = (message.content for message in reversed(self.messages) if message.role == "user")
        return next(asked, None)

    def say(self, text: str) -> None:
        """Add a question of the user."""
        self._append(Entry(role="user", content=text, time=now_text()))

    def say_instead(self, text: str) -> None:
        """Put a question in the place of the last one and of its answer."""
        self._append(Entry(role="user", content=text, time=now_text(), replaces_last=True))

    def can_ask_again(self) -> bool:
        """Whether there is a question to answer, anew or for the first time."""
        return any(message.role == "user" for message in self.messages)

    def turn(self, *, again: bool = False, stop: threading.Event | None = None) -> Turn:
        """Return the answer to the conversation, still to be asked for; it is kept at its end.

        It is kept also where it was cut short. With ``again`` the last answer is left out of the
        request and replaced by the new one. ``stop``: set, and the session cancelled, to stop it.
        """
        messages = self.messages
        if again and messages[-1].role == "assistant":
            messages = messages[:-1]
        replaces = len(messages) < len(self.messages)
        request = ChatRequest(
            messages=messages,
            sampling=self.settings.sampling,
            max_tokens=self.settings.max_tokens,
            stop=self.settings.stop,
            template_kwargs=self.settings.template_kwargs,
            context_shift=self.settings.context_shift,
        )
        return Turn(
            lambda: self.session.chat(request),
            lambda answer: self._finish(
                answer, replaces=replaces, stopped=stop is not None and stop.is_set()
            ),
            Answer(reason="cancelled"),
            cancel=self.session.cancel,
            stop=stop,
        )

    def completion(self, request: CompletionRequest) -> Turn:
        """Return the continuation of a plain text, still to be asked for; it is not kept."""
        return Turn(
            lambda: self.session.complete(request),
            self._reconcile,
            Answer(),
            cancel=self.session.cancel,
        )

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

    def _finish(self, answer: Answer, *, replaces: bool, stopped: bool) -> None:
        """Keep an answer. ``stopped``: by the person, who may also have left, with the engine."""
        self.last = answer
        was_cut = stopped and answer.fault is not None
        if isinstance(answer.fault, Died | Failed):
            self.lesson = self.session.after_death(answer.fault)
            if isinstance(answer.fault, Died) or self.lesson is not None:
                self._loaded = None
        self._reconcile(answer)
        stats = answer.stats
        if stats is not None:
            self.totals = self.totals.plus(stats)
        if answer.content or answer.reason == "stop":
            self._append(
                Entry(
                    role="assistant",
                    content=answer.content,
                    reasoning=answer.reasoning,
                    time=now_text(),
                    finish_reason="cancelled" if was_cut else answer.finish_reason,
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
            where = error.filename or self.conversation.path
            self.conversation.forget_file()
            self._write_error = f"{error.strerror or error} ({where})"


def now_text() -> str:
    """Return the time of an entry."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
