"""What a run came to: its answers as one, each bench test by itself, predicted beside measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from localllm.core.expected_energy import ExpectedEnergy
from localllm.core.prediction import Prediction
from localllm.core.reconcile import (
    Accuracy,
    Reconciled,
    accuracy,
    reconciled_speed,
)
from localllm.records.history import PastRun
from localllm.records.runs import KeptEnergy, KeptPhase


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """One kind of work of a run: all prompts, all texts, or a bench test."""

    label: str
    """``pp``, ``tg``, or llama-bench's name of the test."""
    n_tokens: int
    n_parts: int
    """Answers, or repetitions."""
    speed: Reconciled
    j_per_token: Reconciled
    watts: Reconciled
    scope: str | None
    """Whose energy was measured."""
    gain: float | None = None
    """Systematic relative error of it, beside the standard error."""
    sources: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """What the scope would hold and no meter told."""


def sums(run: PastRun) -> tuple[Sum, ...]:
    """Return what a run's answers came to, then its bench tests; what was too short is left out."""
    answered = [p for r in run.records if r.kind == "answer" for p in r.phases if p.is_telling]
    by_name = {name: [p for p in answered if p.name == name] for name in ("tg", "pp")}
    return (
        *(_together(name, parts) for name, parts in by_name.items() if parts),
        *(_tested(p) for r in run.records if r.kind == "bench" for p in r.phases),
    )


def memory(run: PastRun) -> Reconciled | None:
    """Return planned beside allocated memory of all devices; None where the load was not kept."""
    loads = [record.load for record in run.records if record.load is not None]
    return loads[-1].reconciled if loads else None


def accuracies(runs: Sequence[PastRun]) -> Mapping[str, Accuracy]:
    """Return how far predictions were off, by what was predicted; only what can be said.

    Keys: ``memory``, ``tg``, ``pp`` and ``J/token``. A bench test of both phases counts in none of
    the speeds.
    """
    figures: dict[str, list[Reconciled]] = {"memory": [], "tg": [], "pp": [], "J/token": []}
    for run in runs:
        allocated = memory(run)
        figures["memory"] += [] if allocated is None else [allocated]
        for kind, total in _kinds(run):
            figures["J/token"].append(total.j_per_token)
            if kind in figures:
                figures[kind].append(total.speed)
    found = {name: accuracy(of_name) for name, of_name in figures.items()}
    return {name: said for name, said in found.items() if said is not None}


def _kinds(run: PastRun) -> Iterator[tuple[str, Sum]]:
    for total in sums(run):
        both = "pp" in total.label and "tg" in total.label
        yield "both" if both else total.label[:2], total


def _tested(phase: KeptPhase) -> Sum:
    energy = phase.energy
    return Sum(
        label=phase.label,
        n_tokens=phase.n_tokens,
        n_parts=phase.n_repetitions,
        speed=phase.speed,
        j_per_token=phase.j_per_token,
        watts=_watts([] if energy is None else [energy], phase.expected),
        scope=None if energy is None else energy.scope,
        gain=None if energy is None else energy.gain,
        sources=() if energy is None else energy.sources,
        missing=() if energy is None else energy.missing,
    )


def _together(name: str, phases: Sequence[KeptPhase]) -> Sum:
    """Return answers as if they were one: tokens over time, joules over tokens."""
    # Without an estimate beside it (a shifted context) a phase would only blur the comparison.
    compared = [p for p in phases if p.prediction is not None] or phases
    n_tokens = sum(p.n_tokens for p in compared)
    metered = _of_one_scope(phases)
    energies = [p.energy for p in metered if p.energy is not None]
    expected = _expected(metered or phases)
    last = metered[-1] if metered else phases[-1]
    per_token = last.j_per_token
    if energies:
        n_metered = sum(energy.n_tokens for energy in energies)
        per_token = Reconciled(
            unit="J/token",
            predicted=None if expected is None else expected.j_per_token,
            low=None if expected is None else expected.low,
            high=None if expected is None else expected.high,
            measured=sum(energy.joules for energy in energies) / n_metered,
            sigma=math.hypot(*(energy.sigma_j for energy in energies)) / n_metered,
            rough=all(energy.rough for energy in energies),
        )
    return Sum(
        label=name,
        n_tokens=n_tokens,
        n_parts=len(compared),
        speed=reconciled_speed(
            _prediction(compared), n_tokens / sum(p.n_tokens / p.tok_s for p in compared)
        ),
        j_per_token=per_token,
        watts=_watts(energies, expected),
        scope=energies[-1].scope if energies else None,
        gain=max((energy.gain for energy in energies), default=None),
        sources=tuple(dict.fromkeys(s for energy in energies for s in energy.sources)),
        missing=tuple(dict.fromkeys(why for energy in energies for why in energy.missing)),
    )


def _of_one_scope(phases: Sequence[KeptPhase]) -> list[KeptPhase]:
    """Phases whose energy is of the scope that was metered last: others do not add to it."""
    scopes = [phase.energy.scope for phase in phases if phase.energy is not None]
    return [p for p in phases if p.energy is not None and p.energy.scope == scopes[-1]]


def _prediction(phases: Sequence[KeptPhase]) -> Prediction | None:
    known = [(p.n_tokens, p.prediction) for p in phases if p.prediction is not None]
    if not known:
        return None
    n_tokens = sum(n for n, _ in known)
    return Prediction(
        tok_s=n_tokens / sum(n / one.tok_s for n, one in known),
        low=n_tokens / sum(n / one.low for n, one in known),
        high=n_tokens / sum(n / one.high for n, one in known),
        formula_tok_s=n_tokens / sum(n / one.formula_tok_s for n, one in known),
    )


def _expected(phases: Sequence[KeptPhase]) -> ExpectedEnergy | None:
    """Return what all of them should have taken; None unless each has an estimate."""
    known = [(p.n_tokens, p.expected) for p in phases if p.expected is not None]
    if len(known) < len(phases):
        return None
    n_tokens = sum(n for n, _ in known)
    joules = sum(n * one.j_per_token for n, one in known)
    lows = [n * one.low for n, one in known if one.low is not None]
    highs = [n * one.high for n, one in known if one.high is not None]
    return ExpectedEnergy(
        scope=known[-1][1].scope,
        watts=joules / sum(n * one.j_per_token / one.watts for n, one in known),
        j_per_token=joules / n_tokens,
        low=sum(lows) / n_tokens if len(lows) == len(known) else None,
        high=sum(highs) / n_tokens if len(highs) == len(known) else None,
    )


def _watts(energies: Sequence[KeptEnergy], expected: ExpectedEnergy | None) -> Reconciled:
    seconds = sum(energy.seconds for energy in energies)
    return Reconciled(
        unit="W",
        predicted=None if expected is None else expected.watts,
        measured=sum(energy.joules for energy in energies) / seconds if energies else None,
        sigma=math.hypot(*(e.sigma_j for e in energies)) / seconds if energies else None,
    )
