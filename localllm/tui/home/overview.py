"""What Home shows and how it comes to be known: the machine, the models, a verdict for each.

Everything slow is done beside the screen: folders and meters in threads, plans in a child process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Iterable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import ClassVar

from textual import on, work
from textual.widget import Widget

from localllm import keeping, lookups
from localllm.choosing import Decided
from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.tui.fetching.fetches import Fetch
from localllm.tui.fetching.ways import in_keys
from localllm.tui.home.collection import Collection
from localllm.tui.home.detail import Detail
from localllm.tui.home.filter import FilterInput
from localllm.tui.home.machine_panel import MachinePanel
from localllm.tui.home.model_list import ModelList
from localllm.tui.home.rows import Sort, Verdict
from localllm.tui.home.weigher import Setup, verdict_of
from localllm.tui.home.weighing import Weighing
from localllm.tui.looks import Panel
from localllm.tui.messages import ModelsChanged, Place
from localllm.tui.place import PlaceScreen
from localllm.tui.subject import Subject
from localllm.tui.threads import called, streamed

PACE_S = 0.25
"""Of verdicts that come in: as often as a person can read a list anew."""
CALM_S = 0.15
"""The screen is drawn before the first model is planned."""
NOTHING_LIKE_IT = (
    "Nothing here or known is like that. Escape shows all models again; one of the Hub is written"
    " user/repo, or user/repo:Q4_K_M."
)


class Overview(PlaceScreen):
    """The machine, the filter and the list, kept up to date. What keys do is the subclass's."""

    PLACE: ClassVar[Place] = "home"

    def __init__(self) -> None:
        """Know of nothing yet."""
        super().__init__()
        # not looked for when they are needed: a look may end while the app does
        self.machine = MachinePanel(id="machine")
        self.typed = FilterInput(id="filter")
        self.list = ModelList(id="list")
        self.detail = Detail(id="detail")
        self.panel = Panel(self.list, self.detail, title="Models", id="models")
        self.models = Collection()
        self._learnt: Hashable = None
        """What the desk had learnt when verdicts were last asked for."""
        self._hardware: Hardware | None = None
        self._weighing: Weighing | None = None
        self.order: Sort = "name"
        self.offer: str | None = None
        self._has_begun = False
        self._followed = Subject()
        """What is shown."""
        self._is_readable = False
        """Whether the last look at what is here found out."""

    def compose_place(self) -> Iterable[Widget]:
        """Yield the machine, the filter, and the models."""
        yield self.machine
        yield self.typed
        yield self.panel

    def on_mount(self) -> None:
        """Look at everything, each in its own time."""
        self.panel.show_loading("looking for models here")
        self.local_app.fetches.told.subscribe(self, self._hear_fetch)
        self.call_next(self._begin)

    def _begin(self) -> None:
        self._has_begun = True
        self._followed = self.subject
        self.look_at_machine()
        self.look()

    def on_unmount(self) -> None:
        """Leave no process behind: an app that ends waits for none of its workers."""
        if self._weighing is not None:
            self._weighing.stop()

    def on_screen_suspend(self) -> None:
        """Plan nothing while nobody looks: the processors are for what the person does."""
        self.workers.cancel_group(self, "home-weigh")

    def on_screen_resume(self) -> None:
        """Go on, with what was chosen elsewhere meanwhile."""
        self._follow()

    def watch_subject(self, before: Subject, after: Subject) -> None:
        """Look at another machine, or with other wishes."""
        if self.is_current:  # else when one comes back: elsewhere wishes change with every key
            self._follow()

    def _follow(self) -> None:
        if not self._has_begun:
            return
        subject, before = self.subject, self._followed
        self._followed = subject
        if subject.machines != before.machines:
            self._hardware = None
            self.look_at_machine()
        if (subject.machines, subject.wishes) != (before.machines, before.wishes):
            self.show()
        self._weigh()

    # -- looking ---------------------------------------------------------------------------------

    @work(group="home-machine", exclusive=True)
    async def look_at_machine(self, *, again: bool = False) -> None:
        """Look at the machine, ``again`` what was read of it before."""
        subject = self.subject
        try:
            if again and not subject.machines:
                hardware = await called(self.desk.detect_again)
            else:
                hardware = await called(lambda: self.desk.hardware(subject.machines))
        except LocalLLMError as error:
            self.machine.show_failed(error)
            return
        self._hardware = hardware
        self.machine.show(hardware, None, simulated=subject.simulated)
        self._weigh()
        if hardware.source == THIS_MACHINE:
            meters = await called(lambda: lookups.power_meters(hardware))
            self.machine.show(hardware, meters, simulated=subject.simulated)

    @work(group="home-look", exclusive=True)
    async def look(self) -> None:
        """Look at what is here and what is known."""
        try:
            inventory, leftovers = await asyncio.gather(
                called(self.desk.here), called(keeping.leftovers)
            )
            self._is_readable = True
            self.models.put_here(inventory, leftovers)
            self.models.put_fetches(self.local_app.fetches)
            self.show()
            if self.focused is None:
                self.list.focus()
            self.models.put_known(await called(self.desk.known))  # some moments later
        except LocalLLMError as error:
            self._is_readable = False
            self.panel.show_failed(
                error, in_keys(error.hint or "") or "r looks again once that is mended."
            )
            return
        self.show()
        self._weigh()

    @work(group="home-weigh", exclusive=True)
    async def _weigh(self) -> None:
        """Get a verdict for every model, those on the screen first, as long as one looks on."""
        await asyncio.sleep(CALM_S)
        subject, hardware = self.subject, self._hardware
        if hardware is None or not self.is_current:
            return
        learnt = await called(self.desk.learnt)
        if learnt != self._learnt:  # Plan goes by what was measured meanwhile: so does the list
            self._learnt = learnt
            self.models.weigh_anew()
        await self._weigh_found(subject)
        while asks := self.models.asks(subject, self.list.seen):
            self._weighing = Weighing(Setup(hardware=hardware, wishes=subject.wishes))
            self._weighing.want(asks)
            verdicts = streamed(self._weighing.verdicts, pace_s=PACE_S, stop=self._weighing.stop)
            try:
                async with aclosing(verdicts) as batches:
                    async for batch in batches:
                        self.models.put_verdicts(subject, dict(batch))
                        self.tell(reorders=True)
            except LocalLLMError as error:
                self.notify(printable(error.message), severity="warning", markup=False)
                return
            finally:
                self._weighing = None

    async def _weigh_found(self, subject: Subject) -> None:
        """Plan what was looked up for another machine: its header is here already."""
        for key, decided in self.models.found_without_verdict(subject).items():
            verdict = await called(partial(self._verdict, decided, subject))
            self.models.put_verdicts(subject, {key: verdict})
            self.tell(reorders=True)

    def _verdict(self, found: Decided, subject: Subject) -> Verdict:
        """Plan what was found, with what is left open decided anew. Blocks."""
        wishes = replace(subject.wishes, quant=None)  # it was found in one
        with self.desk.planning():
            session = self.desk.formula_session(subject.machines)
            try:
                decided = session.decide(found.name or "", found.model, wishes)
                return verdict_of(decided, session.plan_decided(decided))
            except LocalLLMError as error:
                return Verdict(words=error.message, fits=None)

    # -- showing ---------------------------------------------------------------------------------

    def show(self, *, stay: bool = True, waits: bool = False) -> None:
        """Show the lines for what was typed.

        ``stay``: the cursor does; ``waits``: nothing is better than to say that there is nothing,
        while it is not known yet what could be done with a name.
        """
        text = self.typed.value.strip()
        entries = self.models.entries(self.subject, text, self.order, offer=self.offer)
        if not self._is_readable or not self.is_attached:
            return
        if not entries and waits:
            return
        if not entries:
            self.panel.show_empty(NOTHING_LIKE_IT)
            return
        self.list.show(entries, self.models.told(self.subject), self.order, stay=stay)
        self.panel.show_ready()

    def tell(self, *, reorders: bool = False) -> None:
        """Show what is known now of the lines that are there."""
        if not self.is_attached:
            return
        words = self.typed.value.lower().split()
        if reorders and (self.order == "speed" or {"fits", "here"} & set(words)):
            self.show()
        else:
            self.list.tell(self.models.told(self.subject))

    @on(ModelList.Moved)
    def _moved(self, event: ModelList.Moved) -> None:
        self.detail.show(event.entry, self.models.told(self.subject), now_s=time.time())
        if self._weighing is not None:
            self._weighing.want(self.models.asks(self.subject, self.list.seen))

    def _hear_fetch(self, fetch: Fetch) -> None:
        """Look at a download later: a signal swallows what goes wrong in whoever hears it."""
        self.call_next(self._show_fetches)

    def _show_fetches(self) -> None:
        before = self.models.shelf.fetches
        self.models.put_fetches(self.local_app.fetches)
        if self.models.shelf.fetches != before:
            self.show()
        else:
            self.tell()

    @on(ModelsChanged)
    def _models_changed(self) -> None:
        self.look()
