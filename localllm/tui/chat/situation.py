"""What stands between the person and an answer, and the step that leads on: one panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.reactive import var

from localllm.core.text import printable
from localllm.tui.looks import Look, Panel
from localllm.units import format_duration
from localllm.words.fetching import cost_of
from localllm.words.loads import label, read_text

if TYPE_CHECKING:
    from localllm.core.fetching import ToFetch
    from localllm.core.generation import Died, Failed
    from localllm.errors import LocalLLMError
    from localllm.session import LocalModel

_BAR = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Why there is no answer yet. ``ready``: nothing stands in the way, and nothing is shown."""

    look: Look = "ready"
    title: str = ""
    text: str = ""
    hint: str | None = None
    step: str | None = None
    """What enter does."""
    is_offer: bool = False
    """It stands in nobody's way: one may go on talking."""
    is_fault: bool = False
    """It is about the last answer."""


CLEAR = Situation()
NO_MODEL = Situation(
    look="empty",
    title="No model",
    text="There is nobody to talk to yet. F2 shows the models that are here; demo comes with "
    "localllm.",
    step="choose a model",
)


def looking(name: str, *, said: str = "") -> Situation:
    """Return that a name is looked up; ``said``: what the search tells of itself."""
    return Situation(look="loading", title=name, text=said or f"looking for {name}")


def absent(wanted: ToFetch) -> Situation:
    """Return that a model is not here, and what fetching it costs."""
    return Situation(
        look="empty",
        title="Not here yet",
        text=f"{wanted.name}: {cost_of(wanted)}.",
        step="see what would be fetched, and fetch it",
    )


def loading(
    model: LocalModel,
    *,
    fraction: float,
    seconds: float,
    said: str | None = None,
    notes: Sequence[str] = (),
) -> Situation:
    """Return how far a load is. ``said``: what goes on instead of reading the weights."""
    filled = round(_BAR * fraction)
    bar = "█" * filled + "░" * (_BAR - filled)
    read = said or f"{bar} {fraction:4.0%} · {read_text(fraction, model)}"
    return Situation(
        look="loading",
        title=f"Loading {label(model)}",
        text="\n".join([f"{read} · {format_duration(round(seconds))}", *notes]),
        hint="escape stops it",
    )


def stopped(name: str) -> Situation:
    """Return that the person stopped a load."""
    return Situation(
        look="empty", title="Not loaded", text=f"The load of {name} was stopped.", step="load it"
    )


def unfit(error: LocalLLMError) -> Situation:
    """Return that a model does not fit, and where that can be changed."""
    return Situation(
        look="failed",
        title="It does not fit",
        text=error.message,
        hint=_joined(error.hint, "F3, the plan, shows why and what else would help."),
        step="go to the plan",
    )


def failed(error: LocalLLMError, *, title: str, step: str | None) -> Situation:
    """Return what went wrong, and what to try."""
    return Situation(look="failed", title=title, text=error.message, hint=error.hint, step=step)


def died(
    fault: Died | Failed, error: LocalLLMError, *, has_text: bool, lesson: str | None
) -> Situation:
    """Return what ended an answer, what is kept, and what the next load does otherwise."""
    from localllm.core.generation import Died

    is_dead = isinstance(fault, Died)
    kept = "What was said is kept." if has_text else "Your question is kept."
    return Situation(
        look="failed",
        title="The engine died" if is_dead else "No answer",
        text=error.message,
        hint=_joined(error.hint, kept, lesson),
        step="load the model again and answer again" if is_dead or lesson else "answer again",
        is_fault=True,
    )


def other(name: str, *, is_same: bool, is_loaded: bool = True) -> Situation:
    """Return that the place was left for another model, or for another plan of the same one.

    ``is_loaded``: the one that is talked to; else a question loads it again.
    """
    if is_same:
        text = f"{name} is planned differently now. You talk to it as it was loaded."
    elif is_loaded:
        text = f"You look at {name} now, and talk to the model that is loaded."
    else:
        text = f"You look at {name} now. A question here loads the model you talked to again."
    return Situation(
        look="empty",
        title="Another plan" if is_same else "Another model",
        text=text,
        step=f"load {name}{' as it is planned' if is_same else ' instead'}",
        is_offer=True,
    )


def engine_is_taken() -> Situation:
    """Return that a benchmark has the engine."""
    return Situation(
        look="empty",
        title="A benchmark runs",
        text="It has the engine and the memory. F5 shows it; the chat goes on after it.",
        step="go on, once it has ended",
    )


def let_go(name: str) -> Situation:
    """Return that the engine holds nothing: a benchmark had it, or it died."""
    return Situation(
        look="empty",
        title="Not loaded any more",
        text=f"The engine does not hold {name} any more. The conversation is kept.",
        step="load it again",
    )


class SituationPanel(Panel):
    """Shows a situation; a click on it is the step that leads on."""

    DEFAULT_CSS = """
    SituationPanel {
        max-height: 12;
        overflow-y: auto;
        border-subtitle-color: $text-accent;
        &.-ready { display: none; }
    }
    """

    situation: var[Situation] = var(CLEAR, init=False)

    class StepChosen(Message):
        """The person wants the step."""

    def __init__(self, *, id: str | None = None) -> None:
        """Begin without anything in the way."""
        super().__init__(id=id, look="ready")

    def watch_situation(self, situation: Situation) -> None:
        """Show it."""
        below = situation.hint if situation.look == "loading" else None
        if situation.step is not None:
            below = f"enter: {situation.step}"
        self.border_title = Content(printable(situation.title))
        self.border_subtitle = Content(printable(below or ""))
        if situation.look == "empty":
            self.show_empty(printable(situation.text))
        elif situation.look == "loading":
            self.show_loading(printable(situation.text))
        elif situation.look == "failed":
            self.show_failed(situation.text, situation.hint)
        else:
            self.show_ready()

    def on_click(self, event: Click) -> None:
        """Take the step."""
        event.stop()
        if self.situation.step is not None:
            self.post_message(self.StepChosen())


def _joined(*parts: str | None) -> str:
    return "\n".join(part for part in parts if part)
