"""The Hardware place: what was found here, why something is missing, and what moves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.getters import query_one
from textual.reactive import var
from textual.widget import Widget

from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.hardware_document import hardware_document
from localllm.doctor import diagnose
from localllm.errors import LocalLLMError
from localllm.lookups import hardware_sources
from localllm.tui.hardware.checks import ChecksPanel, CopyAsked
from localllm.tui.hardware.engine import EnginePanel
from localllm.tui.hardware.facts import FactsPanel, Known
from localllm.tui.hardware.now import NowPanel
from localllm.tui.messages import Place, SubjectChanged
from localllm.tui.place import PlaceScreen
from localllm.tui.subject import ONE_MORE, Subject
from localllm.tui.threads import called, streamed

_NO_SENSORS = "A profile has no sensors. This machine's are one key away: press t."
_WAKES = "Press d to ask llama.cpp and check everything: that wakes the GPU, which sleeps now."


class HardwareScreen(PlaceScreen):
    """Reads while it is shown, and at no other time."""

    PLACE: ClassVar[Place] = "hardware"
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "#hardware"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "s",
            "swap",
            "Another machine",
            id="machine.swap",
            tooltip="Look at another machine, by its profile: SIMULATED",
        ),
        Binding(
            "t",
            "this_machine",
            "This machine",
            id="machine.this",
            tooltip="Look at this machine again",
        ),
        Binding(
            "r",
            "detect",
            "Detect again",
            id="hardware.detect",
            tooltip="Look for everything anew; a GPU that sleeps is woken to be read",
        ),
        Binding(
            "m",
            "measure",
            "Measure RAM",
            id="hardware.measure",
            tooltip="Measure the bandwidth of the RAM, in about a second",
        ),
        Binding(
            "d",
            "check",
            "Check",
            id="hardware.check",
            tooltip="Ask llama.cpp what it sees, and check the installation",
        ),
        Binding(
            "y",
            "copy",
            "Copy as JSON",
            id="hardware.copy",
            tooltip="Copy what localllm hardware --json prints: for a bug report, or to plan for "
            "this machine elsewhere",
        ),
    ]

    now = query_one(NowPanel)
    facts = query_one(FactsPanel)
    engine = query_one(EnginePanel)
    checks = query_one(ChecksPanel)
    installation = query_one("#hardware-installation", Vertical)

    hardware: var[Hardware | None] = var[Hardware | None](None, init=False)
    """What is looked at, once it is known."""

    _begun = False

    def compose_place(self) -> Iterable[Widget]:
        """Yield the machine, what moves first; then the installation, what is wrong first."""
        with VerticalScroll(id="hardware"), Container(id="hardware-columns"):
            with Vertical(classes="hardware--column"):
                yield NowPanel()
                yield FactsPanel()
            with Vertical(id="hardware-installation", classes="hardware--column"):
                yield ChecksPanel()
                yield EnginePanel()

    # -- while it is shown -----------------------------------------------------------------------

    def on_screen_resume(self) -> None:
        """Read on."""
        if self.hardware is not None:
            self._read()

    def on_screen_suspend(self) -> None:
        """Read nothing that nobody sees."""
        self.workers.cancel_group(self, "gauges")

    def watch_subject(self, before: Subject, after: Subject) -> None:
        """Look at another machine."""
        if self._begun and before.machines != after.machines:
            self._look()

    def on_mount(self) -> None:
        """Look for the first time, once it is known at what."""
        self.call_after_refresh(self._look)

    # -- what is looked at -----------------------------------------------------------------------

    @work(group="look", exclusive=True)
    async def _look(self, *, anew: bool = False) -> None:
        """Find out what the machine is, then read and check it."""
        self._begun = True
        machines = self.subject.machines
        self.workers.cancel_group(self, "gauges")
        self.hardware = None
        self.facts.show_loading(
            "looking at this machine" if not machines else "reading the profile"
        )
        self._show_rest(simulated=bool(machines))
        try:
            known = await called(lambda: self._known(machines, anew=anew))
        except LocalLLMError as error:
            self.facts.show_failed(error)
            self.now.show_empty("There is no machine to read.")
            return
        self.facts.known = known
        self.facts.show_ready()  # it may be as it was before
        self.hardware = known.hardware
        if not machines:
            self._read()
            self._check()

    def _known(self, machines: tuple[str, ...], *, anew: bool) -> Known:
        """What there is to show. Blocks."""
        if machines:
            profiles = [name for name in machines if name not in (THIS_MACHINE, ONE_MORE)]
            return Known(hardware=self.desk.hardware(machines), sources=hardware_sources(*profiles))
        hardware = self.desk.detect_again() if anew else self.desk.hardware()
        observations, problem = self.desk.own_measurements(hardware)
        return Known(hardware=hardware, observations=observations, problem=problem)

    def _show_rest(self, *, simulated: bool) -> None:
        """Show what belongs to this machine alone, or not."""
        self.installation.display = not simulated
        if simulated:
            self.now.show_empty(_NO_SENSORS)
        else:
            self.now.show_loading("opening the sensors")
            self.engine.show_loading("asking llama.cpp")
            self.checks.show_loading("looking at the installation")
        self.refresh_bindings()

    @work(group="gauges", exclusive=True)
    async def _read(self) -> None:
        """Read the gauges until the place is left."""
        hardware = self.hardware
        if hardware is None or self.subject.simulated or not self.is_active:
            return
        gauges = self.desk.gauges(hardware)
        async with aclosing(streamed(gauges.looks, stop=gauges.stop)) as batches:
            async for batch in batches:
                self.now.instants = batch[-1]

    @work(group="check", exclusive=True)
    async def _check(self, *, wakes: bool = False) -> None:
        """Ask the doctor; one that would wake a GPU is only asked by the person."""
        if not wakes and await called(self.desk.gpu_sleeps):
            self.engine.show_empty(_WAKES)
            self.checks.show_empty(_WAKES)
            return
        self.engine.show_loading("asking llama.cpp")
        self.checks.show_loading("looking at the installation")
        facts = await called(self.desk.check_up)
        self.engine.facts = facts
        self.checks.findings = diagnose(facts)

    # -- keys ------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A profile has nothing to detect, to measure or to check."""
        if action == "this_machine":
            return self.subject.simulated
        if action in ("detect", "measure", "check"):
            return not self.subject.simulated
        return super().check_action(action, parameters)

    def action_detect(self) -> None:
        """Look for everything anew."""
        self._look(anew=True)

    def action_check(self) -> None:
        """Ask the doctor."""
        self._check(wakes=True)

    def action_this_machine(self) -> None:
        """Look at this machine again."""
        self.post_message(SubjectChanged(replace(self.subject, machines=())))

    @work(group="dialog", exclusive=True)
    async def action_swap(self) -> None:
        """Ask for a machine."""
        from localllm.tui.plan.machine_dialog import MachineDialog

        chosen = await self.app.push_screen_wait(
            MachineDialog(self.desk.hardware, current=self.subject.machines)
        )
        if chosen is not None:
            self.post_message(SubjectChanged(replace(self.subject, machines=chosen)))

    @work(group="measure", exclusive=True)
    async def action_measure(self) -> None:
        """Measure the RAM; the figure is shown here, and no plan changes by it."""
        before = self.hardware
        if before is None:  # it is being looked at, and measures nothing that is shown
            return
        self.facts.show_loading("measuring the memory bandwidth")
        measured = await called(self.desk.measure_bandwidth)
        if self.hardware is before and self.facts.known is not None:  # else another one is shown
            self.facts.known = replace(self.facts.known, hardware=measured)
            self.facts.show_ready()  # the figure may be the same as before

    @work(group="copy", exclusive=True)
    async def action_copy(self) -> None:
        """Copy the machine's document, its meters too where it is this one."""
        hardware = self.hardware
        if hardware is None:
            return
        document = hardware_document(hardware)
        if not self.subject.simulated:
            document |= (await called(lambda: self.desk.meters(hardware))).document
        text = json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False)
        self._copied(text, f"{hardware.name}, {len(text):,} characters of JSON")

    @on(CopyAsked)
    def _copy_asked(self, event: CopyAsked) -> None:
        self._copied(event.text, event.text)

    def _copied(self, text: str, what: str) -> None:
        self.app.copy_to_clipboard(text)
        self.notify(what, title="Copied", markup=False)
