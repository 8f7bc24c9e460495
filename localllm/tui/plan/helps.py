"""What would help a plan, as rows that can be applied."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import var
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from localllm.core.hardware import Hardware
from localllm.core.plan import Counterfactual, Plan
from localllm.core.text import printable
from localllm.tui.looks import Panel
from localllm.tui.plan.verdict import Proof
from localllm.units import format_rate

_COMING = "being worked out"


class _Rows(OptionList):
    """The rows; they take the height that they need."""

    DEFAULT_CSS = """
    _Rows { height: auto; max-height: 12; border: none; padding: 0; background: transparent; }
    _Rows:focus { border: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", "Down", show=False, id="plan.help-down"),
        Binding("k", "cursor_up", "Up", show=False, id="plan.help-up"),
        Binding("enter", "select", "Apply", tooltip="Plan with this change", id="plan.apply"),
    ]

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()
        self._texts: list[Content] = []

    def show(self, texts: list[Content]) -> None:
        """Take the rows."""
        self._texts = texts
        self.clear_options()
        self.add_options([Option(self._marked(at)) for at in range(len(texts))])

    def watch_has_focus(self, has_focus: bool) -> None:
        """Mark the row that Enter applies, or none any more."""
        super().watch_has_focus(has_focus)
        self._mark()

    @on(OptionList.OptionHighlighted)
    def _mark(self) -> None:
        for at in range(self.option_count):
            self.replace_option_prompt_at_index(at, self._marked(at))

    def _marked(self, at: int) -> Content:
        is_next = self.has_focus and at == self.highlighted
        return Content.assemble(("▸ " if is_next else "  ", "$text-accent"), self._texts[at])


class Helps(Panel):
    """A row for each change that would gain something; Enter or a click applies it."""

    class Chosen(Message):
        """Somebody wants a change."""

        def __init__(self, chosen: Counterfactual) -> None:
            """Take what was chosen."""
            super().__init__()
            self.chosen = chosen

    plan: var[Plan | None] = var(None)
    proof: var[Proof] = var[Proof]("none")

    def __init__(self, *, id: str | None = None) -> None:
        """Begin empty."""
        super().__init__(title="Would help", empty="What would help comes with a plan.", id=id)
        self._shown: tuple[Counterfactual, ...] | str | None = None
        """What the rows are of, or why there are none; None before anything was known."""
        self._machine: Hardware | None = None
        """What the plan is for that was followed last."""

    def compose_body(self) -> ComposeResult:
        """Yield the rows."""
        yield _Rows()

    def watch_plan(self) -> None:
        """Follow another plan."""
        self._follow()

    def watch_proof(self) -> None:
        """Follow how far the plan is."""
        self._follow()

    def _follow(self) -> None:
        if not self.is_attached:
            return
        machine = None if self.plan is None else self.plan.hardware
        if self._machine != machine:  # what another one was told says nothing here
            self._machine, self._shown = machine, None
            self.border_subtitle = ""
        if self.plan is None:
            self.show_loading(_COMING)
            return
        if self.proof != "done":
            # What the plan before was told stays, so that nothing jumps while somebody turns;
            # a sentence says something of that plan, which need not hold for this one.
            if self._shown is None or isinstance(self._shown, str):
                self._shown = None
                self.show_loading(_COMING)
            else:
                self.border_subtitle = _COMING
            return
        self.border_subtitle = ""
        offered = self.plan.counterfactuals
        shown = offered or _nothing(self.plan)
        if shown == self._shown:
            return
        self._shown = shown
        if isinstance(shown, str):
            self.show_empty(shown)
        else:
            self.query_one(_Rows).show([_row(other) for other in offered])
            self.show_ready()

    def focus_rows(self) -> None:
        """Give the rows the focus, the first of them marked."""
        rows = self.query_one(_Rows)
        if rows.option_count and rows.highlighted is None:
            rows.highlighted = 0
        rows.focus()

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if self.plan is not None and self.proof == "done":
            self.post_message(self.Chosen(self.plan.counterfactuals[event.option_index]))


def _nothing(plan: Plan) -> str:
    """Say why nothing is offered."""
    if plan.verdict != "fits":
        return "No single change makes it fit: it takes a smaller model, or another machine (m)."
    if not plan.hardware.usable_devices:
        return "Nothing: it fits, and there is no GPU to put layers on."
    if plan.n_gpu_layers == plan.n_layer_total:
        return "Nothing: every layer lies on a GPU."
    return "Nothing: no single change puts more on a GPU."


def _row(other: Counterfactual) -> Content:
    rate = "" if other.tg_tok_s is None else f"  {format_rate(other.tg_tok_s)} tok/s est."
    return Content.assemble(printable(other.change), (rate, "$text-muted"))
