"""What is shown beside a running answer: values, each beside its estimate, with words for neither.

What was not measured is None and has its reason; nothing here is drawn or rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from localllm.core.joules import PerToken
from localllm.core.metered.readings import Unmeasured
from localllm.core.reconcile import Reconciled
from localllm.tui.chat.side.course import Phase
from localllm.tui.chat.side.history import History


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFigures:
    """Reading the prompt."""

    n_done: int
    n_total: int
    n_cached: int
    speed: Reconciled


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedFigures:
    """Tokens per second."""

    phase: Phase
    n_gen: int
    """Tokens of the answer that is being made, or of the last one."""
    now_tok_s: float | None
    """Of the last moment; None while nothing is generated."""
    answer: Reconciled
    """Mean of that answer beside the estimate for just its tokens, at their depth."""
    history: History | None
    prompt: PromptFigures | None
    waiting_s: float | None
    """Since the request went out, while nothing has come."""
    ttft_s: float | None
    ttft_seen: bool = False
    """``ttft_s`` is as it was seen here, until the engine tells its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenFigures:
    """What a token of the last answer took."""

    beside: Reconciled
    gross: PerToken | Unmeasured
    net: PerToken | Unmeasured
    """Beyond idling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerFigures:
    """Watts, and joules a token."""

    is_past: bool = False
    """``watts`` are the mean of the last answer's decoding: between answers nothing is read."""

    watts: Reconciled
    """Of this moment; ``unmeasured`` says why there are none."""
    scope: str | None
    """Whose watts."""
    sources: tuple[str, ...]
    """By which meters."""
    window_s: float
    """Over how long they are a mean; 0 of an instant."""
    fix: str | None
    """What would enable a meter."""
    history: History | None
    expected_joules: Reconciled
    """The estimate alone: what there is without a meter."""
    expected_scope: str | None
    """Whose the estimates are."""
    so_far: Reconciled | None
    """J/token of the answer that is being made, from the watts seen so far."""
    last: TakenFigures | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceFigures:
    """Memory of one device, or of RAM."""

    name: str
    is_host: bool
    total_bytes: int | None
    used_bytes: int | None
    """Now: of a device by everybody, of RAM by the engine's process."""
    used_unknown: str | None
    expected_bytes: int | None
    """What ``used_bytes`` should be by the plan, and by what others held before."""
    allocated: Reconciled | None
    """As planned and as llama.cpp allocated it; None where that is not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFigures:
    """Planned, allocated and used memory, place after place."""

    places: tuple[PlaceFigures, ...]
    unknown: str | None = None
    """Why llama.cpp's own figures are missing."""


AtEnd = Literal["stops", "shifts", "cannot shift"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFigures:
    """How full the context is."""

    n_ctx: int
    n_used: int | None
    """None where it is not known."""
    at_end: AtEnd
    """What happens when it is full; ``cannot shift``: it stops, though a shift was wished for."""
    shifted: bool = False
    """Its oldest part has been dropped in this answer, so nobody knows how full it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatFigures:
    """How warm and how fast the devices are, and what holds them back."""

    temperature_c: float | None
    clock_mhz: float | None
    clock_max_mhz: float | None
    throttle: tuple[str, ...]
    throttle_told: bool
    unknown: str | None
    """Why nothing at all is told."""
    is_past: bool = False
    """It was so at the end of the last answer: between answers nothing is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigures:
    """All of a moment."""

    speed: SpeedFigures
    power: PowerFigures
    memory: MemoryFigures
    context: ContextFigures
    heat: HeatFigures
