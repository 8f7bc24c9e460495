"""The Plan place: a model on a machine, what can be turned, and what the plan becomes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.getters import query_one
from textual.reactive import var
from textual.widget import Widget
from textual.widgets import Static

from localllm.core.policy import Policy
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.tui.looks import Panel
from localllm.tui.messages import Place, SubjectChanged
from localllm.tui.plan.bars import MemoryBars
from localllm.tui.plan.cliff import CliffGauge
from localllm.tui.plan.copy_dialog import CopyDialog
from localllm.tui.plan.following import helped, with_wishes
from localllm.tui.plan.helps import Helps
from localllm.tui.plan.keeping_up import PlanningPlace
from localllm.tui.plan.knob_panel import KnobPanel
from localllm.tui.plan.knob_row import KnobRow
from localllm.tui.plan.machine_dialog import MachineDialog, Machines
from localllm.tui.plan.machines import Profile
from localllm.tui.plan.reasons import Reasons
from localllm.tui.plan.speeds import SpeedGauges
from localllm.tui.plan.strip import LayerStrip
from localllm.tui.plan.verdict import Verdict
from localllm.tui.plan.wishes import slid, stepped, typed
from localllm.tui.subject import Subject
from localllm.tui.threads import called
from localllm.words.plan import runs

_LAST = "The last plan that could be made:"
_NO_MODEL = "No model yet: F2 lists them, and Enter there plans one."


class _Top(VerticalScroll):
    """What stays in sight in a narrow terminal; it takes the focus where it has to be scrolled."""

    def allow_focus(self) -> bool:
        """Whether there is more than can be seen."""
        return self.max_scroll_y > 0


class PlanScreen(PlanningPlace):
    """Changes the subject by what is turned, and shows what becomes of it."""

    PLACE: ClassVar[Place] = "plan"
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "machine", "Machine", id="plan.machine",
                tooltip="Plan for another machine, or for this one again"),
        Binding("u", "undo", "Undo", id="plan.undo", tooltip="Take the last change back"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="plan.page-up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="plan.page-down"),
        Binding("w", "look_for_help", "Would help", show=False, id="plan.help",
                tooltip="Go to what would help; Enter applies it"),
        Binding("r", "reset", "Reset", show=False, id="plan.reset",
                tooltip="Leave every knob to the planner"),
        Binding("y", "copy", "Copy", id="plan.copy",
                tooltip="Copy the plan: as a command, as llama.cpp's flags, as JSON"),
        Binding("c", "go_on('chat')", "Chat", id="plan.chat",
                tooltip="Load the model like this, and talk"),
        Binding("b", "go_on('bench')", "Bench", id="plan.bench", show=False,
                tooltip="Measure the model like this"),
        Binding("f", "fetch", "Fetch", id="plan.fetch", show=False,
                tooltip="Download the model in this quantisation"),
    ]  # fmt: skip

    has_plan: var[bool] = var(False, bindings=True)
    """Whether what is shown is a plan of what is asked."""

    state = query_one("#plan-state", Panel)
    page = query_one("#plan-page", VerticalScroll)

    def __init__(self) -> None:
        """Plan nothing yet."""
        super().__init__()
        self._profiles: tuple[Profile, ...] = ()

    def compose_place(self) -> Iterable[Widget]:
        """Yield the sentence where there is no plan, then figures and what can be turned."""
        yield Panel(title="Plan", empty=_NO_MODEL, id="plan-state")
        with VerticalScroll(id="plan-page", can_focus=False):
            with _Top(id="plan-top"):
                yield Static(_LAST, markup=False, id="plan-last")
                yield Verdict().data_bind(PlanScreen.plan, PlanScreen.proof)
                yield LayerStrip().data_bind(PlanScreen.plan)
                yield MemoryBars().data_bind(PlanScreen.plan)
            with Vertical(id="plan-below"):
                with Vertical(id="plan-turn"):
                    yield KnobPanel(id="plan-knobs").data_bind(PlanScreen.scene, PlanScreen.wishes)
                    yield Helps(id="plan-helps").data_bind(PlanScreen.plan, PlanScreen.proof)
                with Vertical(id="plan-figures"):
                    yield CliffGauge().data_bind(PlanScreen.plan)
                    yield SpeedGauges().data_bind(PlanScreen.plan)
                    yield Reasons(id="plan-reasons").data_bind(PlanScreen.plan)

    # -- what there is to see --------------------------------------------------------------------

    def show_nothing(self) -> None:
        """Say which key brings a model."""
        self.state.show_empty(_NO_MODEL)
        self._show_parts(state=True, page=False)

    def show_waiting(self, text: str) -> None:
        """Say what is waited for."""
        self.state.show_loading(text)
        self._show_parts(state=True, page=False)

    def show_plan(self) -> None:
        """Show figures and knobs; the first knob gets the focus where nothing has it."""
        self.page.remove_class("-refused")
        self._show_parts(state=False, page=True)
        if self.focused is None and (rows := self.query(KnobRow)):
            rows.first().focus(scroll_visible=False)

    def show_refusal(self, error: LocalLLMError) -> None:
        """Say why there is no plan. What was planned before stays in sight, called that."""
        self.state.show_failed(error)
        self.page.add_class("-refused")
        self._show_parts(state=True, page=self.made is not None)

    def _show_parts(self, *, state: bool, page: bool) -> None:
        self.has_plan = page and not state
        for widget, is_shown in ((self.state, state), (self.page, page)):
            if widget.display != is_shown:
                widget.display = is_shown

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer what can be done now."""
        if action == "undo":
            return self.can_undo
        if action in ("copy", "go_on", "look_for_help"):
            return self.has_plan
        return True

    # -- what the person does --------------------------------------------------------------------

    def _turn(self, wishes: Policy, *, by: str) -> None:
        self.change(with_wishes(self.latest, wishes), by=by)

    @on(KnobRow.Turned)
    def _turned(self, event: KnobRow.Turned) -> None:
        event.stop()
        if self.scene is not None:
            wishes = stepped(event.knob, self.latest.wishes, self.scene, event.steps)
            self._turn(wishes, by=event.knob.name)

    @on(KnobRow.Slid)
    def _slid(self, event: KnobRow.Slid) -> None:
        event.stop()
        if self.scene is not None:
            wishes = slid(event.knob, self.latest.wishes, self.scene, event.share)
            self._turn(wishes, by=event.knob.name)

    @on(KnobRow.Typed)
    def _typed(self, event: KnobRow.Typed) -> None:
        event.stop()
        try:
            wishes = typed(event.knob, self.latest.wishes, event.text)
        except LocalLLMError as error:
            self._tell(error)
        else:
            self._turn(wishes, by=event.knob.name)

    @on(KnobRow.Refused)
    def _refused_as_written(self, event: KnobRow.Refused) -> None:
        event.stop()
        self._tell(event.error)

    @on(Helps.Chosen)
    def _helped(self, event: Helps.Chosen) -> None:
        event.stop()
        if self.made is not None and self.made.subject == self.latest:
            self.change(helped(self.made, event.chosen.applied), by=event.chosen.change)

    def action_page(self, direction: int) -> None:
        """Scroll to what is further up or down."""
        if direction < 0:
            self.page.scroll_page_up(animate=False)
        else:
            self.page.scroll_page_down(animate=False)

    def action_undo(self) -> None:
        """Go back to before the last change."""
        self.undo()

    def action_reset(self) -> None:
        """Leave everything to the planner."""
        self.change(replace(self.latest, wishes=Policy()), by="reset")

    def action_look_for_help(self) -> None:
        """Go to the changes that would gain something."""
        self.query_one(Helps).focus_rows()

    def action_machine(self) -> None:
        """Ask for a machine. The dialog is there at once: the next key is meant for it."""
        desk = self.desk
        dialog = MachineDialog(
            desk.hardware,
            current=self.latest.machines,
            profiles=self._profiles,
            on_profiles=self._keep_profiles,
        )
        self.app.push_screen(dialog, self._plan_for)

    def _plan_for(self, machines: Machines | None) -> None:
        if machines is not None:
            self.change(replace(self.latest, machines=machines), by="machine")

    def _keep_profiles(self, profiles: tuple[Profile, ...]) -> None:
        self._profiles = profiles

    def action_copy(self) -> None:
        """Show the plan as text."""
        if self.made is None:
            self.notify("There is no plan to copy yet.", severity="warning")
        else:
            self.app.push_screen(CopyDialog(self.made))

    def action_go_on(self, place: Place) -> None:
        """Go on with exactly this plan, where it can be run."""
        self.app.clear_notifications()
        if self.latest.simulated:
            self.notify(
                "This plan is for another machine. Press m, then Enter, to come back to this one.",
                severity="warning",
            )
        elif self.plan is None or not runs(self.plan):
            self.notify("This plan cannot be run; see what would help.", severity="warning")
        else:
            self.post_message(SubjectChanged(self.latest, place=place))

    @work(group="plan-fetch", exclusive=True)
    async def action_fetch(self) -> None:
        """Download the model in the quantisation that is shown."""
        from localllm.tui.fetching.dialog import FetchDialog

        if self.latest.name is None:
            return
        desk, subject = self.desk, self._to_fetch()
        try:
            decided = await called(lambda: desk.seek(subject, to_run=True))
        except LocalLLMError as error:
            self._tell(error)
            return
        if decided.fetch is None:
            self.notify("It is here already.", markup=False)
        else:
            await self.app.push_screen_wait(FetchDialog(decided))

    def _to_fetch(self) -> Subject:
        """What is looked at; what was chosen for it is not chosen anew."""
        made, latest = self.made, self.latest
        if made is None or made.subject != latest or made.decided.choice is None:
            return latest
        return with_wishes(latest, replace(latest.wishes, quant=made.decided.policy.quant))

    def _tell(self, error: LocalLLMError) -> None:
        hint, message = printable(error.hint or ""), printable(error.message)
        self.app.clear_notifications()  # one at a time: the last says what is wrong now
        self.notify(hint, title=message, severity="error", markup=False)
