"""What is shown beside the tokens while they come: watts by scope, temperature, throttling.

Which meters count for a run follows its plan: the boards that hold its layers, and the processors
where they compute a part of a token. The rest is named apart, never added in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from localllm.core.metered.readings import Health, MeterScope, Trace
from localllm.core.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The figures of a moment."""

    watts: float | None = None
    """Of ``scope``; None where no meter has a fresh value, with the reason in ``missing``."""
    scope: str | None = None
    """``GPU board``, ``2 GPU boards`` ..."""
    sources: tuple[str, ...] = ()
    """``Source.name`` of what is added, without repetition."""
    window_s: float = 0.0
    """Over how long ``watts`` is a mean; 0 of an instant."""
    missing: str | None = None
    fix: str | None = None
    """The one line that would enable a meter."""
    temperature_c: float | None = None
    """Of the hottest device of the run."""
    clock_mhz: float | None = None
    """Of the slowest."""
    clock_max_mhz: float | None = None
    throttle: tuple[str, ...] = ()
    throttle_told: bool = False
    """Whether every device of the run says what holds it back."""

    @property
    def slowed(self) -> str | None:
        """Why the devices are held back, in few words: ``power cap, 83 °C, 1,410 MHz``."""
        if not self.throttle:
            return None
        parts = [" + ".join(self.throttle)]
        if self.temperature_c is not None:
            parts.append(f"{self.temperature_c:.0f} °C")
        if self.clock_mhz is not None:
            parts.append(f"{self.clock_mhz:,.0f} MHz")
        return ", ".join(parts)


_SCOPES: Mapping[str, tuple[MeterScope, ...]] = {
    "GPU boards": ("GPU board",),
    "GPU boards and CPU": ("GPU board", "CPU package"),
    "CPU package": ("CPU package",),
    "whole chip": ("whole chip",),
}


def scopes_of_run(plan: Plan) -> tuple[MeterScope, ...]:
    """Return what a run's energy is measured of, so that it compares with the plan's estimate.

    Without an estimate: the boards where layers lie on GPUs, else the processors.
    """
    if plan.power is not None:
        return _SCOPES[plan.power.scope]
    return ("GPU board",) if plan.device_names and plan.n_gpu_layers else ("CPU package",)


def chosen(traces: Sequence[Trace], scopes: Sequence[MeterScope]) -> tuple[Trace, ...]:
    """Return the traces that make up a run's scope, as far as there are meters.

    Where there is none of them, the next larger thing that has one: the whole chip, the laptop.
    """
    wanted = tuple(trace for trace in traces if trace.source.scope in scopes)
    if wanted:
        return wanted
    for larger in ("whole chip", "whole laptop"):
        found = tuple(trace for trace in traces if trace.source.scope == larger)
        if found:
            return found
    return ()


def with_health(live: Live, healths: Sequence[Health]) -> Live:
    """Return the same with the devices' temperature, clocks and reasons for throttling."""
    temperatures = [h.temperature_c for h in healths if h.temperature_c is not None]
    clocked = [h for h in healths if h.clock_mhz is not None]
    slowest = min(clocked, key=lambda h: h.clock_mhz or 0.0, default=None)
    return replace(
        live,
        temperature_c=max(temperatures, default=None),
        clock_mhz=None if slowest is None else slowest.clock_mhz,
        clock_max_mhz=None if slowest is None else slowest.clock_max_mhz,
        throttle=tuple(dict.fromkeys(why for health in healths for why in health.throttle)),
        throttle_told=bool(healths) and all(health.throttle_told for health in healths),
    )
