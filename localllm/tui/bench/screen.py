"""The Bench place: choose tests, measure them, see the estimate beside them, compare, save."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.getters import query_one
from textual.message import Message
from textual.notifications import SeverityLevel
from textual.reactive import var
from textual.widget import Widget

from localllm.benching.saving import offered_path
from localllm.benching.wanted import Wanted
from localllm.benching.whole import Measured, WholeRun
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.session import LocalModel
from localllm.tui.bench.compare_dialog import CompareDialog
from localllm.tui.bench.engine import measured_with, to_run
from localllm.tui.bench.form import TestsForm
from localllm.tui.bench.plots import Kind, PowerPlot, SpeedPlot
from localllm.tui.bench.preview import Preview, preview
from localllm.tui.bench.results import Results, in_short
from localllm.tui.bench.save_dialog import SaveDialog
from localllm.tui.messages import ActivityChanged, ModelsChanged, Place
from localllm.tui.place import PlaceScreen
from localllm.tui.subject import Subject
from localllm.tui.threads import called

_NO_MODEL = "No model is looked at yet: F2 chooses one."

_STILL_S = 0.25
"""Without a change before a run is planned anew."""


class BenchScreen(PlaceScreen):
    """Measures the model that is looked at, on this machine."""

    PLACE: ClassVar[Place] = "bench"
    AUTO_FOCUS = ""
    CSS_PATH = "screen.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "start", "Start", id="bench.start", tooltip="Measure the tests"),
        Binding("escape", "stop", "Stop", id="bench.stop",
                tooltip="End the run; what was measured is kept"),
        Binding("ctrl+t", "propose", "Propose", id="bench.propose",
                tooltip="Fill in tests that end within a minute"),
        Binding("ctrl+o", "compare", "Compare", id="bench.compare",
                tooltip="Compare this run with earlier ones, or two of them"),
        Binding("ctrl+s", "save", "Save", id="bench.save", tooltip="Save the run to a file"),
        Binding("pageup", "page('up')", "Up", show=False, id="bench.up"),
        Binding("pagedown", "page('down')", "Down", show=False, id="bench.down"),
    ]  # fmt: skip

    measured: var[Measured | None] = var[Measured | None](None)
    """The last run, as far as it has come."""
    measured_of: var[Subject | None] = var[Subject | None](None)
    """What was looked at when it began."""
    preview: var[Preview | None] = var[Preview | None](None)
    """What would be run; None while that is not known."""
    running: var[bool] = var(False, bindings=True)

    form = query_one("#bench-form", TestsForm)
    results = query_one("#bench-results", Results)

    class Heard(Message):
        """A run has come further; the whole of it, so that only the last one counts."""

        def __init__(self, run: WholeRun, measured: Measured) -> None:
            """Take which run, and what has come of it."""
            super().__init__()
            self.run, self.measured = run, measured

        def can_replace(self, message: Message) -> bool:
            """Whether this says all that another said."""
            return isinstance(message, BenchScreen.Heard)

    def __init__(self) -> None:
        """Have measured nothing."""
        super().__init__()
        self._run: WholeRun | None = None
        self._run_of: Subject | None = None
        self._edited = False
        """Whether the person has changed the tests that were proposed."""
        self._starts = False
        """Whether the run is to start as soon as it is known what it is."""

    def compose_place(self) -> Iterable[Widget]:
        """Yield the tests and their results, and the curves."""
        with VerticalScroll(id="bench", can_focus=False):
            with VerticalScroll(id="bench-left", can_focus=False):
                form = TestsForm(title="Tests", empty=_NO_MODEL, id="bench-form")
                yield form.data_bind(BenchScreen.preview, BenchScreen.running)
                results = Results(
                    title="Results", empty="Nothing was measured yet: ctrl+r starts.",
                    id="bench-results",
                )  # fmt: skip
                yield results.data_bind(BenchScreen.measured)
            with VerticalScroll(id="bench-right", can_focus=False):
                kinds: tuple[Kind, ...] = ("generation", "prompt")
                run = (BenchScreen.measured, BenchScreen.measured_of, BenchScreen.subject)
                for kind in kinds:
                    plot = SpeedPlot(kind, id=f"bench-{kind}")
                    yield plot.data_bind(BenchScreen.preview, *run)
                yield PowerPlot(id="bench-power").data_bind(*run)

    # -- what is looked at -----------------------------------------------------------------------

    def watch_subject(self, before: Subject, subject: Subject) -> None:
        """Ask anew what a run would be; another model gets tests of its own."""
        if before.name != subject.name:
            self._edited = False
        self._ask()

    @on(TestsForm.Changed)
    def _form_changed(self) -> None:
        self._edited = True
        self._ask(after_s=_STILL_S)

    @on(ModelsChanged)
    def _models_changed(self) -> None:
        self._ask()

    def _ask(self, after_s: float = 0.0) -> None:
        """Work out what a run would be, with the fields as they are, or to be proposed."""
        self.preview = None
        self._starts = False
        if not self.children:  # nothing is shown yet
            return
        if self.subject.name is None:
            self.form.show_empty(_NO_MODEL)
            return
        wanted: Wanted | None = None
        if self._edited:
            try:
                wanted = self.form.wanted()
            except LocalLLMError as error:
                self.workers.cancel_group(self, "preview")
                self.form.say_wrong(error)
                return
        self._preview(self.subject, wanted, after_s)

    @work(group="preview", exclusive=True)
    async def _preview(self, subject: Subject, wanted: Wanted | None, after_s: float) -> None:
        form, first = self.form, self.form.look != "ready"
        await asyncio.sleep(after_s)
        form.say_waiting()
        if first:
            form.show_loading("looking at the model")
        try:
            found = await called(lambda: preview(self.desk, subject, wanted))
        except LocalLLMError as error:
            if first and wanted is None:
                form.show_failed(error)
            else:
                form.say_wrong(error)
            return
        if wanted is None:
            form.propose(found.wanted)
        form.show_ready()
        self.preview = found
        if self.focused is None:
            form.query_one("#form-start").focus()
        if self._starts and not self.running:
            self._starts = False
            self._measure(found)

    # -- keys ------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer what can be done now."""
        if action in ("start", "propose"):
            return not self.running
        if action == "stop":
            return self.running
        return True

    def action_propose(self) -> None:
        """Fill in tests that end within a minute."""
        self._edited = False
        self._ask()

    def action_start(self) -> None:
        """Measure what is chosen."""
        if self.running:
            return
        if self.desk.engine_holder not in (None, self.PLACE):
            self._say_engine_is_taken()
        elif self.preview is not None:
            self._measure(self.preview)
        elif self._is_asking():
            self._starts = True
        else:
            self.notify("There is nothing to measure yet: see Tests.", severity="warning")

    def _say_engine_is_taken(self) -> None:
        self.notify("Chat is at work: wait for it, or stop it there (F4).", severity="warning")

    def _is_asking(self) -> bool:
        """Whether it is being worked out what would be run."""
        return any(worker.group == "preview" and worker.is_running for worker in self.workers)

    def action_stop(self) -> None:
        """End the run soon; what was measured is kept."""
        if self._run is not None:
            self._run.stop()

    def action_save(self) -> None:
        """Ask where the run is to be saved."""
        if self.measured is None or not self.measured.rows or self.running:
            self.notify("There is no finished run to save.", severity="warning")
            return
        self._save(self.measured)

    def action_compare(self) -> None:
        """Open the comparison."""
        seen = self.preview if self.measured is None else self.measured
        plan = None if seen is None else seen.plan
        model = None if plan is None else plan.model.name
        self.app.push_screen(CompareDialog(None if self.running else self.measured, model=model))

    def action_page(self, way: str) -> None:
        """Scroll what there is to scroll."""
        for name in ("bench", "bench-left", "bench-right"):
            getattr(self.query_one(f"#{name}"), f"scroll_page_{way}")(animate=False)

    @on(TestsForm.Wished)
    def _wished(self) -> None:
        if self.running:
            self.action_stop()
        else:
            self.action_start()

    # -- a run -----------------------------------------------------------------------------------

    @work(group="bench", exclusive=True)
    async def _measure(self, chosen: Preview) -> None:
        """Fetch what is missing, measure, and let go of the model."""
        model = chosen.model
        if model is None:
            model = await self._fetched(chosen)
            if model is None:
                return
        run = self._run = WholeRun(on_change=lambda measured: self._tell(run, measured))
        self._run_of = chosen.subject
        self.running = True
        self.results.scroll_visible(animate=False, top=True)
        self.post_message(ActivityChanged(self.PLACE, "planning"))
        try:
            measured = await called(lambda: measured_with(self.desk, run, model, chosen))
            if measured is not None:
                self.measured_of, self.measured = chosen.subject, measured
        finally:
            self.running = False
            self._run = None
            self.post_message(ActivityChanged(self.PLACE, None))
        if measured is None:
            self._say_engine_is_taken()
        else:
            self._tell_end(measured)

    async def _fetched(self, chosen: Preview) -> LocalModel | None:
        """Return the model, fetched where the person wants it."""
        from localllm.tui.fetching.dialog import FetchDialog

        self.form.say_waiting()
        try:
            found = await called(lambda: to_run(self.desk, chosen))
        except LocalLLMError as error:
            self.form.say_wrong(error)
            return None
        self.form.watch_preview(chosen)
        if isinstance(found, LocalModel):
            return found
        return await self.app.push_screen_wait(FetchDialog(found))

    def _tell(self, run: WholeRun, measured: Measured) -> None:
        """Pass on what a run's thread says; there may be nobody to hear it any more."""
        with contextlib.suppress(RuntimeError):
            self.post_message(self.Heard(run, measured))

    @on(Heard)
    def _heard(self, event: Heard) -> None:
        if event.run is not self._run:
            return
        self.measured_of, self.measured = self._run_of, event.measured
        progress = event.measured.progress
        if progress is not None and progress.where is not None:
            going_on = f"{progress.where.number}/{progress.where.n_tests}"
            if self.local_app.activities.get(self.PLACE) != going_on:
                self.post_message(ActivityChanged(self.PLACE, going_on))

    def _tell_end(self, measured: Measured) -> None:
        """Say how it ended to somebody who is elsewhere."""
        if self.app.screen is not self:
            severity: SeverityLevel = "information" if measured.error is None else "error"
            self.app.notify(in_short(measured), title="Bench", severity=severity, markup=False)

    # -- afterwards ------------------------------------------------------------------------------

    @work(group="save", exclusive=True)
    async def _save(self, measured: Measured) -> None:
        """Ask for a path, and save."""
        began = datetime.fromisoformat(measured.began).astimezone()
        offered = await called(lambda: offered_path(measured.name, began))
        path = await self.app.push_screen_wait(SaveDialog(measured, offered))
        if path is not None:
            self.notify(printable(str(path)), title="Saved", markup=False)
