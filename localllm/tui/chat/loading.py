"""From what is looked at to a loaded model: found, fetched where the person wants it, loaded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING

from localllm.choosing import Decided
from localllm.core.generation import Died, Failed, Loaded
from localllm.errors import DoesNotFitError, LocalLLMError, UsageError
from localllm.talking.chat import Chat
from localllm.talking.obtained import Obtained, obtained_of
from localllm.tui.chat import situation as situations
from localllm.tui.chat.answer import DRAW_SHARE, DRAW_SHARE_BESIDE_CPU
from localllm.tui.chat.base import ChatBase, stopping
from localllm.tui.chat.progress import Load
from localllm.tui.chat.reporting import lines_of_load
from localllm.tui.chat.side.course import Course
from localllm.tui.fetching.finding import found
from localllm.tui.messages import PlanMade
from localllm.tui.subject import Planned, Subject
from localllm.tui.threads import called, streamed
from localllm.words.failures import failure
from localllm.words.loads import short_name

if TYPE_CHECKING:
    from localllm.core.plan import Plan
    from localllm.tui.lanes import RunSession

LOAD_PACE_S = 0.2


class ChatLoading(ChatBase):
    """The part of the place that brings a model."""

    def __init__(self) -> None:
        """Have tried nothing yet."""
        super().__init__()
        self._tried: Subject | None = None
        """What was loaded last, or could not be."""
        self._loaded_for: Subject | None = None
        """What was looked at when the loaded model was chosen."""
        self._dismissed: Subject | None = None
        """What the person does not want to talk to now."""

    def consider(self) -> None:
        """Look at what the app looks at: open it where nobody was talked to, else offer to."""
        subject, chat = self.subject, self.chat
        if self.phase != "idle" or self.situation.is_fault:
            return
        if subject.name is None:
            if chat is None:
                self.stand(situations.NO_MODEL, lambda: self.local_app.action_go("home"))
        elif self._tried is not None and _same(subject, self._tried):
            if self.situation.is_offer:
                self.stand(situations.CLEAR)
            if chat is not None and chat.needs_load and self.situation == situations.CLEAR:
                self.stand(
                    situations.let_go(self.talks_to or short_name(subject.name)), self.load_again
                )
        elif chat is None or self.talks_to is None:
            self.open_model(subject)
        elif self._dismissed is None or not _same(subject, self._dismissed):
            offer = situations.other(
                short_name(subject.name),
                is_same=self._tried is not None and subject.name == self._tried.name,
                is_loaded=not chat.needs_load,
            )
            self.stand(offer, lambda: self.open_model(subject))

    def dismiss_situation(self) -> None:
        """Take away what is said; what was offered is not offered again."""
        if self.situation.is_offer:
            self._dismissed = self.subject
        self.stand(situations.CLEAR)

    async def when_loaded(self, chat: Chat) -> None:
        """Do what was waiting for the model."""

    # -- what is begun ---------------------------------------------------------------------------

    def open_model(self, subject: Subject) -> None:
        """Find a model and load it."""
        self.begin(lambda: self._open(subject), then=self.consider)  # it may be another by then

    def fetch(self, decided: Decided, name: str) -> None:
        """Have a model fetched where the person wants it, and load it."""
        self.begin(lambda: self._fetch(decided, name))

    def load_again(self) -> None:
        """Load the chosen model once more."""
        chat = self.chat
        if chat is not None:
            self.begin(lambda: self._load_and_go_on(chat.obtained, self.load_again))

    async def _open(self, subject: Subject) -> None:
        assert subject.name is not None
        self._tried, name = subject, subject.name

        def again() -> None:
            self.open_model(subject)

        def give_up() -> None:
            self.workers.cancel_group(self, "engine")
            self.stand(situations.stopped(short_name(name)), again)

        with self._going("finding", give_up):
            self.stand(situations.looking(short_name(name)))
            try:
                what = await called(lambda: found(self.desk, subject, self._said))
            except LocalLLMError as error:
                self._stand_failed(error, "Not found", again)
                return
        if isinstance(what, Obtained):
            await self._load_and_go_on(what, again, subject)
        elif what.fetch is None:
            await self._load_and_go_on(obtained_of(what, name), again, subject)
        else:
            decided = what
            self.stand(situations.absent(what.fetch), lambda: self.fetch(decided, name))

    async def _fetch(self, decided: Decided, name: str) -> None:
        from localllm.tui.fetching.dialog import FetchDialog

        def again() -> None:
            self.fetch(decided, name)

        assert decided.fetch is not None
        model = await self.app.push_screen_wait(FetchDialog(decided))
        if model is None:
            self.stand(situations.absent(decided.fetch), again)
        else:
            await self._load_and_go_on(obtained_of(decided, name, model), again, self._tried)

    # -- one load --------------------------------------------------------------------------------

    async def _load_and_go_on(
        self, obtained: Obtained, again: Callable[[], object], subject: Subject | None = None
    ) -> None:
        """Load a model, and do what was waiting for it. ``subject``: what it was found for."""
        with self._engine(again) as has_it:
            if has_it and await self._load_model(obtained, again):
                self._loaded_for = subject or self._loaded_for
                self._tell_plan(obtained)
                assert self.chat is not None
                await self.when_loaded(self.chat)

    async def _load_model(self, obtained: Obtained, again: Callable[[], object]) -> bool:
        """Load a model, and return whether it is there. ``again``: what tries it once more.

        Use it inside ``_engine``.
        """
        try:
            session = await called(self.desk.run_session)
        except LocalLLMError as error:
            self._stand_failed(error, "Not loaded", again)
            return False
        before = self.chat.obtained if self.chat is not None else None
        chat = self._chat_with(session, obtained)
        self._look()  # from now on nothing is loaded
        self._load = load = Load(obtained.model, began_s=time.monotonic())
        stop = threading.Event()
        try:
            with self._going("loading", stopping(stop, session)):
                self._show_load()
                plan = await called(chat.plan_load)
                ended = await self._loaded(chat, plan, load, stop)
        except LocalLLMError as error:
            if before is not None:
                chat.choose(before, is_fresh=False)
            self._stand_failed(error, "Not loaded", again)
            return False
        finally:
            self._load = None
        if ended is None:
            self.stand(situations.stopped(load.name), again)
            return False
        await self._is_loaded(chat, load, ended)
        return True

    async def _loaded(
        self, chat: Chat, plan: Plan, load: Load, stop: threading.Event
    ) -> Loaded | None:
        """Load, showing how far it is; None where it was stopped. Raises what it failed with."""
        ended: Loaded | Failed | Died | None = None
        events = streamed(
            lambda: chat.loading(plan, stop=stop),
            pace_s=LOAD_PACE_S,
            stop=stopping(stop, chat.session),
        )
        async with aclosing(events) as batches:
            async for batch in batches:
                for event in batch:
                    load.take(event)
                    if isinstance(event, Loaded | Failed | Died):
                        ended = event
                self._show_load()
        if isinstance(ended, Loaded):
            return ended
        if ended is not None and not stop.is_set():
            raise failure(ended)
        return None

    async def _is_loaded(self, chat: Chat, load: Load, loaded: Loaded) -> None:
        conversation = chat.conversation
        if not conversation.entries and conversation.header.model != chat.model_name:
            chat.start_over()  # nothing was said to the other model
        self.course = Course()
        self.talks_to = load.name
        plan = chat.session.plan
        on_gpu = plan is not None and plan.n_gpu_layers == plan.n_layer_total
        self.transcript.draw_share = DRAW_SHARE if on_gpu else DRAW_SHARE_BESIDE_CPU
        for line in lines_of_load(chat, load, loaded):
            await self.transcript.remark(line)
        self.stand(situations.CLEAR)
        self._look()

    def _tell_plan(self, obtained: Obtained) -> None:
        """Tell what was loaded as the plan of what is looked at, where it is about that."""
        subject, session = self._loaded_for, self.desk.running
        plan = None if session is None else session.plan
        if plan is None or subject is None or subject.simulated or subject != self.subject:
            return
        decided = Decided(
            model=obtained.model,
            policy=obtained.policy,
            asked=obtained.asked,
            choice=None,
            alternatives=None,
            name=obtained.name,
        )
        self.post_message(PlanMade(Planned(subject=subject, decided=decided, plan=plan)))

    def _chat_with(self, session: RunSession, obtained: Obtained) -> Chat:
        """Return the chat, about to load a model."""
        if self.chat is not None:
            self.chat.session = session
            self.chat.choose(obtained)
            return self.chat
        conversation, self.waiting = self.waiting, None
        if conversation is None:
            conversation = self.store.start(
                model=obtained.name, content_id=obtained.model.content_id, now=datetime.now()
            )
        self.chat = Chat(
            session=session,
            store=self.store,
            conversation=conversation,
            obtained=obtained,
            settings=self._settings,
        )
        return self.chat

    # -- what is said ----------------------------------------------------------------------------

    def _stand_failed(self, error: LocalLLMError, title: str, again: Callable[[], object]) -> None:
        """Say what went wrong: wishes that cannot be met are changed at the plan."""

        def to_plan() -> None:
            self.local_app.action_go("plan")

        if isinstance(error, DoesNotFitError):
            self.stand(situations.unfit(error), to_plan)
        elif isinstance(error, UsageError):
            self.stand(situations.failed(error, title=title, step="go to the plan"), to_plan)
        else:
            self.stand(situations.failed(error, title=title, step="try again"), again)

    def _said(self, text: str) -> None:
        """Show what a search tells of itself; called in its thread."""
        self.app.call_later(self._show_search, text)

    def _show_search(self, text: str) -> None:
        if self.phase == "finding" and self._tried is not None and self._tried.name is not None:
            self.stand(situations.looking(short_name(self._tried.name), said=text))


def _same(one: Subject, another: Subject) -> bool:
    """Whether two subjects come to the same load: one talks on this machine in any case."""
    return (one.name, one.wishes) == (another.name, another.wishes)
