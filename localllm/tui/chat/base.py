"""The state of the Chat place, and what moves while something goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from textual import work
from textual.reactive import reactive, var
from textual.worker import Worker

from localllm.session import conversation_store
from localllm.talking.chat import Chat
from localllm.talking.settings import Settings
from localllm.tui.chat import situation as situations
from localllm.tui.chat.progress import Load
from localllm.tui.chat.side.course import Course
from localllm.tui.chat.side.figures import RunFigures
from localllm.tui.chat.side.looking import figures_of
from localllm.tui.chat.situation import Situation
from localllm.tui.messages import ActivityChanged
from localllm.tui.place import PlaceScreen
from localllm.words.figures import rate

if TYPE_CHECKING:
    from localllm.session import Conversation, Session
    from localllm.tui.chat.answer import AnswerView
    from localllm.tui.chat.transcript import Transcript

Phase = Literal["idle", "asking", "finding", "loading", "answering"]
"""``asking``: something has begun, or goes on between two of the others."""

FIGURES_S = 1 / 2
RESTING_S = 2.0
"""Between two looks while nothing goes on: meters open late, and memory moves."""
_TICKS_OF_ACTIVITY = 2


class ChatBase(PlaceScreen):
    """One thing goes on at a time; what blocks runs in a thread, and the person may stop it."""

    phase: reactive[Phase] = reactive[Phase]("idle", bindings=True)
    situation: var[Situation] = var(situations.CLEAR, init=False)
    figures: var[RunFigures | None] = var(None, init=False)
    talks_to: var[str | None] = var(None, init=False)
    """The loaded model, in a few words."""

    def __init__(self) -> None:
        """Begin without a model."""
        super().__init__()
        self.store = conversation_store()
        self.chat: Chat | None = None
        self.course = Course()
        self.waiting: Conversation | None = None
        """What is gone on with as soon as there is a model."""
        self._settings = Settings()
        self._next: Callable[[], object] | None = None
        self._stop: Callable[[], None] | None = None
        self._load: Load | None = None
        self._view: AnswerView | None = None
        self._n_ticks = 0

    def on_mount(self) -> None:
        """Have a clock for while something goes on."""
        self._ticking = self.set_interval(FIGURES_S, self._tick, pause=True)
        self.set_interval(RESTING_S, self._look_at_rest)

    @property
    def transcript(self) -> Transcript:
        """Where the conversation is shown."""
        raise NotImplementedError

    @property
    def settings(self) -> Settings:
        """How answers are asked for and shown."""
        return self._settings if self.chat is None else self.chat.settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._settings = settings
        if self.chat is not None:
            self.chat.settings = settings

    # -- what stands in the way ------------------------------------------------------------------

    def stand(self, situation: Situation, step: Callable[[], object] | None = None) -> None:
        """Say what stands in the way; ``step``: what enter does about it."""
        self.situation, self._next = situation, step

    def take_step(self) -> None:
        """Do what leads on, where there is such a thing."""
        step, self._next = self._next, None
        if step is not None:
            step()

    def forget_fault(self) -> None:
        """Take away what is said of an answer that is not shown any more."""
        if self.situation.is_fault:
            self.stand(situations.CLEAR)

    def stop(self) -> None:
        """Stop what goes on."""
        if self._stop is not None:
            self._stop()

    # -- what goes on ----------------------------------------------------------------------------

    def begin(
        self, work: Callable[[], Awaitable[None]], *, then: Callable[[], None] | None = None
    ) -> Worker[None]:
        """Begin one of what is done one at a time; from now on, not from when it runs.

        ``then`` is called when nothing goes on any more, unless it was given up.
        """
        self.phase = "asking"
        return self._do(work, then)

    @work(group="engine", exclusive=True)
    async def _do(
        self, work: Callable[[], Awaitable[None]], then: Callable[[], None] | None
    ) -> None:
        try:
            await work()
        finally:
            self.phase = "idle"
            self.post_message(ActivityChanged(self.PLACE, None))
        if then is not None:
            then()

    @contextmanager
    def _going(self, phase: Phase, stop: Callable[[], None]) -> Iterator[None]:
        """Within this something goes on, which ``stop`` ends."""
        self.phase, self._stop = phase, stop
        self._ticking.resume()
        self.post_message(ActivityChanged(self.PLACE, self._activity()))
        try:
            yield
        finally:
            self.phase, self._stop = "asking", None
            self._ticking.pause()

    @contextmanager
    def _engine(self, again: Callable[[], object]) -> Iterator[bool]:
        """Have the engine within this; False where a benchmark has it, which is said.

        ``again``: what tries it once more.
        """
        has_it = self.desk.take_engine(self.PLACE)
        if not has_it:
            self.stand(situations.engine_is_taken(), again)
        try:
            yield has_it
        finally:
            if has_it:
                self.desk.give_engine(self.PLACE)

    def _show_load(self) -> None:
        if self._load is not None:
            self.stand(self._load.situation(time.monotonic()))

    def _look(self) -> None:
        """Look at the figures of this moment."""
        chat = self.chat
        if chat is None or chat.needs_load:
            self.figures = None
            return
        shifts = chat.settings.context_shift
        self.figures = figures_of(chat.session, self.course, context_shift=shifts)

    def _look_at_rest(self) -> None:
        if self.phase == "idle" and self.is_current:
            self._look()

    async def _tick(self) -> None:
        """Look at the clock, at the figures, and at text that nothing has followed."""
        self._show_load()
        if self._view is not None:
            self._look()
            await self._view.draw()
        self._n_ticks += 1
        if self._n_ticks % _TICKS_OF_ACTIVITY == 0 and self.phase != "idle":
            self.post_message(ActivityChanged(self.PLACE, self._activity()))

    def _activity(self) -> str:
        if self._load is not None:
            return f"loading {self._load.fraction:.0%}"
        if self._view is not None and self.course.mean_tok_s is not None:
            return f"{rate(self.course.mean_tok_s)} tok/s"
        return self.phase


def stopping(stop: threading.Event, session: Session) -> Callable[[], None]:
    """Return what stops a session's work for whoever listens to ``stop``."""

    def do() -> None:
        stop.set()
        session.cancel()

    return do
