"""A place that keeps a plan up with what is looked at: the latest wish wins, none is queued."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import replace

from textual import on, work
from textual.message import Message
from textual.reactive import var

from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.tui.messages import PlanMade, SubjectChanged
from localllm.tui.place import PlaceScreen
from localllm.tui.plan.following import Wanted, leaves_a_choice, offered, quickly, wholly, with_help
from localllm.tui.plan.knob import Offered, Scene
from localllm.tui.plan.verdict import Proof
from localllm.tui.subject import Planned, Subject
from localllm.tui.threads import called

CHOICE_S = 0.1
"""So long without a change, and what the name leaves open is chosen anew."""
SETTLED_S = 0.3
"""So long without one, and llama.cpp is asked to count what the formulas did."""


class PlanningPlace(PlaceScreen):
    """Plans by the formulas at once, and lets llama.cpp count when nothing moves any more.

    What is shown in ``plan`` and the other reactives is of ``made``, which may be a moment behind
    ``latest``. Subclasses say what there is to see without a plan (``show_...``).
    """

    plan: var[Plan | None] = var(None)
    proof: var[Proof] = var[Proof]("none")
    scene: var[Scene | None] = var(None)
    wishes: var[Policy] = var(Policy)
    can_undo: var[bool] = var(False, bindings=True)

    class Said(Message):
        """The search for a model tells what it is doing, or (``lasting``) what was found."""

        def __init__(self, text: str, *, lasting: bool) -> None:
            """Take the text."""
            super().__init__()
            self.text, self.lasting = text, lasting

    def __init__(self) -> None:
        """Plan nothing yet."""
        super().__init__()
        self.latest = Subject()
        """What is to be planned; messages of what was sent before may still be on their way."""
        self.made: Planned | None = None
        """What is shown; None where nothing is."""
        self._learnt: Hashable = None
        """What the desk had learnt when this place was last gone to."""
        self._sent: list[Subject] = []
        self._before: list[tuple[str, Subject]] = []
        """What ``undo`` goes back to, and by what it was left."""
        self._refused: Subject | None = None
        self._is_following = False
        self._is_carried_over = False
        """Whether what is shown was planned with what was chosen for other wishes."""
        self._offered: dict[str | None, tuple[Offered, ...]] = {}

    # -- what a subclass shows -------------------------------------------------------------------

    def show_nothing(self) -> None:
        """Say that no model was chosen."""
        raise NotImplementedError

    def show_waiting(self, text: str) -> None:
        """Say what is waited for before there is anything to see."""
        raise NotImplementedError

    def show_plan(self) -> None:
        """Show ``plan``."""
        raise NotImplementedError

    def show_refusal(self, error: LocalLLMError) -> None:
        """Say why there is no plan of ``latest``; ``made`` is what was planned before it."""
        raise NotImplementedError

    # -- what is looked at -----------------------------------------------------------------------

    def watch_subject(self, subject: Subject) -> None:
        """Follow a subject that somebody else changed; what was sent from here comes back."""
        if subject in self._sent:
            del self._sent[: self._sent.index(subject) + 1]
        elif subject != self.latest:
            if subject.name != self.latest.name:
                self._before.clear()
                self.can_undo = False
            self._adopt(subject)

    def on_screen_resume(self) -> None:
        """Catch up with what was changed elsewhere."""
        self._catch_up()
        self._learn()

    @work(group="plan-learn", exclusive=True)
    async def _learn(self) -> None:
        """Plan what is shown once more where something was measured meanwhile."""
        desk, made = self.desk, self.made
        before, self._learnt = self._learnt, await called(desk.learnt)
        if made is None or self._learnt == before:
            return
        plan = await called(lambda: desk.plan(made.subject, decided=made.decided))
        if self.made is made:
            self._show(plan)
            self._finish(plan)

    def change(self, subject: Subject, *, by: str) -> None:
        """Look at something else. ``by``: what was turned; turning on is one step of ``undo``."""
        if subject == self.latest:
            return
        if not self._before or self._before[-1][0] != by:
            self._before.append((by, self.latest))
            self.can_undo = True
        self._send(subject)

    def undo(self) -> None:
        """Go back to before the last change."""
        if self._before:
            self._send(self._before.pop()[1])
            self.can_undo = bool(self._before)

    def _send(self, subject: Subject) -> None:
        self._sent.append(subject)
        self.post_message(SubjectChanged(subject))
        self._adopt(subject)

    def _adopt(self, subject: Subject) -> None:
        if subject.name != self.latest.name and self.made is not None:
            self._forget()
        self.latest, self.wishes = subject, subject.wishes
        self._catch_up()

    def _forget(self) -> None:
        """Show nothing of another model."""
        self.made = self.plan = self.scene = None
        self.proof = "none"

    # -- the plan --------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        if self.latest.name is None:
            self.show_nothing()
        elif self.made is not None and self.made.subject == self.latest:
            if self._refused is not None:  # turned back to what could be planned
                self._show(self.made)
                self._finish(self.made)
        elif self.is_current and not self._is_following and self.latest != self._refused:
            self._is_following = True
            self.workers.cancel_group(self, "plan-finish")
            self._follow()

    @property
    def _is_behind(self) -> bool:
        made = None if self.made is None else self.made.subject
        return self.latest.name is not None and self.latest not in (made, self._refused)

    @work(group="plan")
    async def _follow(self) -> None:
        """Plan until there is nothing newer to plan."""
        try:
            while self.is_current and self._is_behind:
                await self._plan_latest()
        finally:
            self._is_following = False
        if self.made is not None and self.made.subject == self.latest:
            self._finish(self.made)

    async def _plan_latest(self) -> None:
        """Plan with what was chosen before where that is possible, else from the beginning."""
        subject, before, desk = self.latest, self.made, self.desk

        def wanted() -> bool:
            return self.latest is subject

        if before is None:
            self.show_waiting("looking the model up")
        try:
            made = await called(lambda: quickly(desk, subject, before, wanted))
            self._is_carried_over = made is not None
            if made is None and wanted():
                made = await self._found(subject, wanted)
        except LocalLLMError as error:
            if wanted():
                self._refuse(subject, error)
        else:
            if made is not None:
                self._show(made)

    async def _found(self, subject: Subject, wanted: Wanted) -> Planned | None:
        desk = self.desk

        def find() -> Planned | None:
            return wholly(
                desk,
                subject,
                wanted,
                say=lambda text: self._hear(text, lasting=False),
                note=lambda text: self._hear(text, lasting=True),
            )

        return await called(find)

    @work(group="plan-finish", exclusive=True)
    async def _finish(self, planned: Planned) -> None:
        """Once nobody turns: choose anew what was left open, then work out what would help."""
        await asyncio.sleep(CHOICE_S)
        if self._is_carried_over and leaves_a_choice(planned.decided):
            subject = planned.subject
            try:
                made = await self._found(subject, lambda: self.latest == subject)
            except LocalLLMError as error:
                self._refuse_made(planned, error)
                return
            if made is None:
                return
            self._is_carried_over = False
            self._show(made)
            planned = made
        await self._look_at_offers(planned)
        await asyncio.sleep(SETTLED_S - CHOICE_S)
        self.proof = "checking"
        desk = self.desk
        try:
            plan = await called(lambda: with_help(desk, planned, lambda: self.made is planned))
        except LocalLLMError as error:
            self._refuse_made(planned, error)
            return
        if plan is not None and self.made is planned:
            self._show(replace(planned, plan=plan), proof="done")

    def _show(self, planned: Planned, *, proof: Proof = "none") -> None:
        """Show a plan; the subject may be another by now, and then another plan follows."""
        if self._is_ending:
            return
        self.made, self._refused = planned, None
        if proof == "done":  # whoever follows both sees this plan's proof, never another's
            self.plan, self.proof = planned.plan, proof
        else:
            self.proof, self.plan = proof, planned.plan
        self._set_the_scene()
        self.show_plan()
        self.post_message(PlanMade(planned))

    @property
    def _is_ending(self) -> bool:
        """Whether the place is being taken down: a thread may have its answer only then."""
        return not self.display

    def _refuse(self, subject: Subject, error: LocalLLMError) -> None:
        """Say why there is no plan. The knobs stay, to be turned back."""
        if self._is_ending:
            return
        self._refused = subject
        self.show_refusal(error)
        self.post_message(PlanMade(None))

    def _refuse_made(self, planned: Planned, error: LocalLLMError) -> None:
        """Refuse what was planned quickly, unless something else is looked at by now."""
        if self.made is planned and self.latest == planned.subject:
            self._refuse(planned.subject, error)

    def _set_the_scene(self) -> None:
        made = self.made
        if made is not None:
            self.scene = Scene(
                plan=made.plan,
                offered=self._offered.get(made.subject.name, ()),
                is_open=leaves_a_choice(made.decided),
            )

    async def _look_at_offers(self, planned: Planned) -> None:
        name = planned.subject.name
        if name not in self._offered:
            self._offered[name] = await called(lambda: offered(planned))
            self._set_the_scene()

    def _hear(self, text: str, *, lasting: bool) -> None:
        """Pass on what a thread tells."""
        self.post_message(self.Said(printable(text), lasting=lasting))

    @on(Said)
    def _said(self, event: Said) -> None:
        event.stop()
        if event.lasting:
            self.notify(event.text, markup=False)
        elif self.made is None:
            self.show_waiting(event.text)
