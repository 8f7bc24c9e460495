"""The two lines on top of every screen: where one can go, and what is being looked at."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Click
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Static

from localllm.core.plan import Plan
from localllm.core.policy import kv_label
from localllm.core.text import printable
from localllm.tui.messages import Place, PlaceChosen
from localllm.tui.subject import Planned, Subject
from localllm.units import format_count

PLACES: dict[Place, tuple[str, str]] = {
    "home": ("F2", "Models"),
    "plan": ("F3", "Plan"),
    "chat": ("F4", "Chat"),
    "bench": ("F5", "Bench"),
    "hardware": ("F6", "Hardware"),
}
"""Its key, and what a person calls it."""

SIMULATED = "▐SIMULATED▌"

PATIENCE_S = 0.5
"""With a plan whose wishes were just changed: the line does not flicker while somebody turns."""


class PlaceTab(Static):
    """One place, to be clicked on."""

    def __init__(self, place: Place, *, current: bool) -> None:
        """Take the place, and whether it is where one is."""
        key, name = PLACES[place]
        mark = f"[{name}]" if current else f" {name} "
        super().__init__(Content(f"{key}{mark}"), classes="-current" if current else "")
        self._place: Place = place
        self.tooltip = "You are here" if current else f"Go to {name}"

    def on_click(self, event: Click) -> None:
        """Tell of the click."""
        event.stop()
        self.post_message(PlaceChosen(self._place))


class Activities(Widget):
    """What goes on in other places, in the cells that are left."""

    activities: reactive[Mapping[Place, str]] = reactive[Mapping[Place, str]]({})

    def __init__(self, place: Place) -> None:
        """Take where one is: what goes on there is seen without this."""
        super().__init__()
        self._place = place

    def on_mount(self) -> None:
        """Follow the app."""
        self.watch(self.app, "activities", self._follow)

    def on_click(self, event: Click) -> None:
        """Go to where it goes on."""
        event.stop()
        elsewhere = self._elsewhere()
        if elsewhere:
            self.post_message(PlaceChosen(elsewhere[0]))

    def render(self) -> Content:
        """Return them at the right end; the first alone where there is no room for more."""
        pieces = [
            Content.assemble(
                (PLACES[place][1], "$text-muted"), " ", Content(printable(self.activities[place]))
            )
            for place in self._elsewhere()
        ]
        width = self.size.width - 1
        while len(pieces) > 1 and sum(piece.cell_length + 3 for piece in pieces) - 3 > width:
            pieces.pop()
        line = Content(" · ").join(pieces).truncate(max(width, 0), ellipsis=True)
        return line.pad_left(max(width - line.cell_length, 0))

    def _elsewhere(self) -> list[Place]:
        return [place for place in PLACES if place != self._place and place in self.activities]

    def _follow(self, activities: Mapping[Place, str]) -> None:
        self.activities = activities
        going_on = self._elsewhere()
        self.tooltip = f"Go to {PLACES[going_on[0]][1]}" if going_on else None


class SubjectLine(Widget):
    """Model, quantisation, placement and context; the machine at the right."""

    subject: reactive[Subject] = reactive(Subject)
    planned: reactive[Planned | None] = reactive(None)
    is_patient: reactive[bool] = reactive(False)
    """Whether a plan of wishes that were just changed is still shown."""

    _patience = 0
    """How often it began."""

    def on_mount(self) -> None:
        """Say what a click does."""
        self.tooltip = "The model: its plan. The machine: its hardware."

    def on_click(self, event: Click) -> None:
        """Go to the plan, or to the machine where that was clicked on."""
        event.stop()
        on_machine = event.x - 1 >= self.size.width - self._machine().cell_length  # 1: padding
        model: Place = "home" if self.subject.name is None else "plan"
        self.post_message(PlaceChosen("hardware" if on_machine else model))

    def watch_subject(self, before: Subject, after: Subject) -> None:
        """Keep a plan of other wishes for a moment: its successor is mostly there by then."""
        self.is_patient = before != after and _differs_in_wishes(before, after)
        if self.is_patient:
            self._patience += 1
            self.set_timer(PATIENCE_S, partial(self._lose_patience, self._patience))

    def _lose_patience(self, number: int) -> None:
        if number == self._patience:
            self.is_patient = False

    def render(self) -> Content:
        """Return the line, the machine's end pushed to the right."""
        left, right = Content(self._model()), self._machine()
        room = self.size.width - right.cell_length
        left = left.truncate(max(room - 1, 0), ellipsis=True)
        gap = max(self.size.width - left.cell_length - right.cell_length, 1)
        return Content.assemble(left, Content(" " * gap), right)

    def _model(self) -> str:
        subject, planned = self.subject, self.planned
        if subject.name is None:
            return "no model yet"
        if planned is not None:
            is_turned = self.is_patient and _differs_in_wishes(planned.subject, subject)
            if planned.subject == subject or is_turned:
                return plan_words(planned.plan)
        return printable(subject.name)

    def _machine(self) -> Content:
        """The machine; a long name is cut so that the badge and half of the line remain."""
        if not self.subject.machines:
            return Content("this machine")
        name = Content(printable(" + ".join(self.subject.machines)))
        room = max(self.size.width // 2 - len(SIMULATED) - 1, 8)
        return Content.assemble(
            name.truncate(room, ellipsis=True), " ", (SIMULATED, "bold $text-warning")
        )


class Masthead(Widget):
    """Both lines."""

    DEFAULT_CSS: ClassVar[str] = """
    Masthead {
        height: 2;
        dock: top;
        background: $panel;
        & > Horizontal { height: 1; }
        & .masthead--name { width: auto; padding: 0 2 0 1; text-style: bold; color: $text-primary; }
        & PlaceTab { width: auto; padding: 0 1 0 0; color: $text-muted; }
        & PlaceTab.-current { text-style: bold; color: $text; }
        & PlaceTab:hover, & Activities:hover { text-style: underline; }
        & Activities { width: 1fr; height: 1; }
        & > SubjectLine { height: 1; padding: 0 1; background: $surface; }
    }
    """

    subject: reactive[Subject] = reactive(Subject)
    planned: reactive[Planned | None] = reactive(None)

    def __init__(self, place: Place) -> None:
        """Take where this is."""
        super().__init__()
        self._place: Place = place

    def compose(self) -> ComposeResult:
        """Yield the tabs and the line."""
        with Horizontal():
            yield Static("localllm", classes="masthead--name")
            for place in PLACES:
                yield PlaceTab(place, current=place == self._place)
            yield Activities(self._place)
        yield SubjectLine().data_bind(Masthead.subject, Masthead.planned)


def _differs_in_wishes(one: Subject, other: Subject) -> bool:
    """Whether two subjects differ in nothing else."""
    return (one.name, one.machines) == (other.name, other.machines)


def plan_words(plan: Plan) -> str:
    """Return a plan in one line: ``Llama 3 8B · Q4_K_M · 33/33 layers on GPU · 8k · q8_0 KV``."""
    model = plan.model
    on_gpu = f"{plan.n_gpu_layers}/{plan.n_layer_total} layers on GPU"
    parts = [
        f"{printable(model.name)} · {model.quant}",
        on_gpu if plan.n_gpu_layers else "CPU",
        f"{format_count(plan.n_ctx)} ctx · {kv_label(plan.type_k, plan.type_v)} KV",
    ]
    if plan.verdict != "fits":
        parts.append("does not fit")
    return " · ".join(parts)
