"""Watts and joules beside their estimates: while an answer comes as seen, afterwards as metered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from localllm.core.expected_energy import ExpectedEnergy, expected_energy
from localllm.core.joules import decode_per_token
from localllm.core.metered.live import Live
from localllm.core.metered.readings import Unmeasured
from localllm.core.reconcile import Reconciled, reconciled_energy
from localllm.tui.chat.side.course import Course, Took
from localllm.tui.chat.side.figures import PowerFigures, TakenFigures

if TYPE_CHECKING:
    from localllm.core.plan import Plan

RESTING = "the meters rest between answers"


def power_of(plan: Plan, course: Course, live: Live, now_s: float) -> PowerFigures:
    """Return watts and joules a token, of this moment or of the last answer."""
    n_gen = max(course.n_gen - 1, 1)
    decoding = _expected(plan, course, live, n_gen=n_gen, depth=course.depth(plan))
    expected, reads = decoding, course.phase in ("asked", "prompt")
    if reads and course.prompt is not None:
        n_cached = course.prompt.n_cached
        n_new = max(course.prompt.n_total - n_cached, 1)
        expected = _expected(plan, course, live, n_prompt=n_new, depth=n_cached)
    watts = _watts(plan, live, expected, whole=not reads)
    past = _past_w(course)
    if past is not None:
        watts = replace(watts, measured=past, unmeasured=None)
    elif live.watts is None and live.scope is not None and course.phase == "idle":
        watts = replace(watts, unmeasured=RESTING)
    return PowerFigures(
        is_past=past is not None,
        watts=watts,
        scope=live.scope,
        sources=live.sources,
        window_s=live.window_s,
        fix=live.fix if watts.measured is None else None,
        history=course.watts(now_s),
        expected_joules=_joules(decoding, None),
        expected_scope=None if decoding is None else decoding.scope,
        so_far=_so_far(course, decoding),
        last=None if course.last is None else _taken(plan, course, course.last),
    )


def _past_w(course: Course) -> float | None:
    """Mean watts of the last answer's decoding, once it is over and where they were measured."""
    last = course.last
    if course.phase != "idle" or last is None or last.energy is None:
        return None
    decode = last.energy.decode
    return None if isinstance(decode, Unmeasured) else decode.mean_w


def _expected(
    plan: Plan, course: Course, live: Live, *, n_prompt: int = 0, n_gen: int = 0, depth: int
) -> ExpectedEnergy | None:
    return expected_energy(
        plan,
        n_prompt=n_prompt,
        n_gen=n_gen,
        depth=depth,
        scope=live.scope,
        predictor=course.predictor(plan),
    )


def _watts(plan: Plan, live: Live, expected: ExpectedEnergy | None, *, whole: bool) -> Reconciled:
    """The watts of now beside those of the plan, of the same scope.

    ``whole``: of decoding, for which the plan has a range; it is that of its own scope.
    """
    power = plan.power
    own = whole and power is not None and expected is not None and expected.low is not None
    return Reconciled(
        unit="W",
        predicted=None if expected is None else expected.watts,
        low=power.board_low_w if own and power is not None else None,
        high=power.board_high_w if own and power is not None else None,
        measured=live.watts,
        unmeasured=live.missing if live.watts is None else None,
    )


def _so_far(course: Course, expected: ExpectedEnergy | None) -> Reconciled | None:
    """Joules a token of the answer that is being made: rough, as the watts are only looked at."""
    mean_w, mean_tok_s = course.mean_w, course.mean_tok_s
    if course.phase != "answering" or mean_w is None or not mean_tok_s:
        return None
    return _joules(expected, mean_w / mean_tok_s)


def _joules(expected: ExpectedEnergy | None, measured: float | None) -> Reconciled:
    return Reconciled(
        unit="J/token",
        predicted=None if expected is None else expected.j_per_token,
        low=None if expected is None else expected.low,
        high=None if expected is None else expected.high,
        measured=measured,
        rough=measured is not None,
    )


def _taken(plan: Plan, course: Course, took: Took) -> TakenFigures | None:
    """What a decoded token of an answer took; None where no meter was looked at."""
    stats, energy = took.stats, took.energy
    if energy is None:
        return None
    n_tokens = max(stats.n_gen - 1, 0)
    expected = None
    if n_tokens and stats.n_prompt + stats.n_gen <= stats.n_ctx:
        scope = None if isinstance(energy.decode, Unmeasured) else energy.decode.scope
        expected = expected_energy(
            plan,
            n_prompt=0,
            n_gen=n_tokens,
            depth=stats.n_prompt,
            scope=scope,
            predictor=course.predictor(plan),
        )
    return TakenFigures(
        beside=reconciled_energy(expected, energy.decode, n_tokens=n_tokens),
        gross=decode_per_token(energy, stats),
        net=decode_per_token(energy, stats, net=True),
    )
