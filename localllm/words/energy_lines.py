"""What an answer took, in words: the lines of ``/stats`` and the piece under an answer.

Every figure says whose watts they are and by which meter, stands beside its estimate, and has its
error. What was not measured has its reason and no figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from localllm.core.expected_energy import expected_energy
from localllm.core.generation import RunStats
from localllm.core.joules import (
    AnswerEnergy,
    decode_per_token,
    energy_text,
    per_token_text,
    prefill_per_token,
)
from localllm.core.metered.readings import Energy, Unmeasured
from localllm.core.plan import Plan
from localllm.core.reconcile import (
    Reconciled,
    difference,
    predicted_text,
    reconciled_energy,
    sentence,
)
from localllm.units import format_duration, format_rate

Line = tuple[str, str]
"""What a line is about, and its text."""

Phase = Literal["decode", "prompt"]


def energy_lines(
    stats: RunStats, energy: AnswerEnergy | None, plan: Plan | None = None
) -> Iterator[Line]:
    """Yield what an answer took: watts and their meter, then each phase beside its estimate.

    ``energy`` None: no meter was looked at.
    """
    if energy is None:
        return
    known = [p for p in (energy.decode, energy.prefill, energy.total) if isinstance(p, Energy)]
    if known:
        yield "power", _power(energy, known[0])
    figures = {phase: _reconciled(phase, stats, energy, plan) for phase in _PHASES}
    if isinstance(energy.decode, Unmeasured) and energy.decode == energy.prefill:
        yield "energy", f"not measured: {_why(energy.decode)}{_estimates(figures)}"
        return
    for phase, figure in figures.items():
        if _n_tokens(phase, stats):
            yield phase, _phase(phase, stats, energy, figure)
            yield from _beyond_idle(phase, stats, energy)
    if isinstance(energy.total, Energy):
        yield "answer", energy_text(energy.total)


def footer_piece(
    stats: RunStats, energy: AnswerEnergy | None, plan: Plan | None = None
) -> str | None:
    """Return ``212 W GPU board · 3.1 J/token (estimated 2.9)``; None where nothing was measured."""
    if energy is None or isinstance(energy.decode, Unmeasured):
        return None
    figure = _reconciled("decode", stats, energy, plan)
    if not figure.measured:
        return None
    mark = "~" if figure.rough else ""
    estimate = ""
    if figure.predicted:
        estimate = f" (estimated {format_rate(figure.predicted, digits=2)})"
    joules = format_rate(figure.measured, digits=2)
    watts = f"{mark}{_watts(energy.decode.mean_w)} {energy.decode.scope}"
    return f"{watts} · {mark}{joules} J/token{estimate}"


_PHASES: tuple[Phase, Phase] = ("decode", "prompt")
_PER_TOKEN = {"decode": decode_per_token, "prompt": prefill_per_token}


def _power(energy: AnswerEnergy, first: Energy) -> str:
    """Mean watts of each phase, whose they are, and by which meter."""
    phases = [("while decoding", energy.decode), ("while reading the prompt", energy.prefill)]
    means = [
        f"{'~' if part.rough else ''}{_watts(part.mean_w)} {when}"
        for when, part in phases
        if isinstance(part, Energy)
    ]
    meters = f"{first.scope} by {' + '.join(first.sources)}{_kind(first)}"
    return ", ".join([*means, meters, *first.missing])


def _kind(energy: Energy) -> str:
    """How the meter counts, in brackets: ``counter``, or what was added up."""
    if energy.kinds == ("counter",) and all("counter" in name for name in energy.sources):
        return ""
    words = {
        "counter": "counter",
        "average": f"{format_duration(energy.window_s)} averages added up",
        "instant": "instant readings added up",
    }
    return f" ({', '.join(words[kind] for kind in energy.kinds)})"


def _phase(phase: Phase, stats: RunStats, energy: AnswerEnergy, figure: Reconciled) -> str:
    """One phase beside its estimate, with both errors where it was measured."""
    shared = _PER_TOKEN[phase](energy, stats)
    if isinstance(shared, Unmeasured):
        return sentence(figure)
    estimate = f"estimated {predicted_text(figure)}, " if figure.predicted is not None else ""
    remark = difference(figure)
    off = f", {remark}" if remark else ""
    return f"{estimate}measured {per_token_text(shared)}{off}"


def _beyond_idle(phase: Phase, stats: RunStats, energy: AnswerEnergy) -> Iterator[Line]:
    """Yield what a token takes beyond idling, or ``<= noise``; nothing where idle is not known."""
    net = _PER_TOKEN[phase](energy, stats, net=True)
    part = _part(phase, energy)
    if isinstance(net, Unmeasured) or isinstance(part, Unmeasured) or part.idle_w is None:
        return
    yield "", f"beyond the {_watts(part.idle_w)} of idling {per_token_text(net)}"


def _reconciled(
    phase: Phase, stats: RunStats, energy: AnswerEnergy, plan: Plan | None
) -> Reconciled:
    """Energy of a phase's tokens beside the estimate for them, at their depth, of their scope."""
    decodes = phase == "decode"
    part, n_tokens = _part(phase, energy), _n_tokens(phase, stats)
    shifted = decodes and stats.n_prompt + stats.n_gen > stats.n_ctx
    expected = None
    if plan is not None and not shifted:  # what was shifted had no depth to estimate for
        expected = expected_energy(
            plan,
            n_prompt=0 if decodes else n_tokens,
            n_gen=n_tokens if decodes else 0,
            depth=stats.n_prompt if decodes else stats.n_cached,
            scope=part.scope if isinstance(part, Energy) else None,
        )
    return reconciled_energy(expected, part, n_tokens=n_tokens)


def _part(phase: Phase, energy: AnswerEnergy) -> Energy | Unmeasured:
    return energy.decode if phase == "decode" else energy.prefill


def _n_tokens(phase: Phase, stats: RunStats) -> int:
    """Tokens that a phase's energy was spent on: the first generated one is the prompt's."""
    return max(stats.n_gen - 1, 0) if phase == "decode" else stats.n_prompt - stats.n_cached


def _estimates(figures: Mapping[Phase, Reconciled]) -> str:
    known = [
        f"{phase} {predicted_text(figure)}"
        for phase, figure in figures.items()
        if figure.predicted is not None
    ]
    return f"; estimated {', '.join(known)}" if known else ""


def _why(missing: Unmeasured) -> str:
    return missing.reason if missing.fix is None else f"{missing.reason} (to enable: {missing.fix})"


def _watts(watts: float) -> str:
    """Three digits below a hundred, whole watts from there on."""
    return f"{watts:,.0f} W" if watts >= 100 else f"{format_rate(watts)} W"
