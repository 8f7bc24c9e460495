"""One look at a run: the figures of now, from the session, its meters and the answer so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from localllm.core.expected_energy import ExpectedEnergy, expected_energy
from localllm.core.joules import decode_per_token
from localllm.core.metered.live import Live
from localllm.core.metered.readings import Health, Unmeasured
from localllm.core.reconcile import Reconciled, reconciled_energy, reconciled_speed
from localllm.tui.chat.side.course import Course, Took
from localllm.tui.chat.side.figures import (
    AtEnd,
    ContextFigures,
    HeatFigures,
    PowerFigures,
    PromptFigures,
    RunFigures,
    SpeedFigures,
    TakenFigures,
)
from localllm.tui.chat.side.places import memory_of

if TYPE_CHECKING:
    from localllm.core.generation import Loaded
    from localllm.core.plan import Plan
    from localllm.core.reconcile import Comparison
    from localllm.session import Session

RESTING = "the meters rest between answers"
NO_HEALTH = "nothing tells how warm or how fast this run's devices are"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What was read of a loaded model and its devices."""

    plan: Plan
    loaded: Loaded
    compared: tuple[Comparison, ...] = ()
    live: Live = field(default_factory=Live)
    healths: tuple[Health, ...] = ()
    resident_bytes: int | None = None
    """Of the engine's process."""


def figures_of(
    session: Session, course: Course, *, context_shift: bool = False, now_s: float | None = None
) -> RunFigures | None:
    """Return the figures of this moment; None where no model is loaded.

    Under a millisecond, and blocks on nothing: for the loop's own thread, up to four times a
    second. ``course`` is fed by the screen, and remembers the watts that are seen here;
    ``context_shift``: the setting of the chat.
    """
    moment = moment_of(session)
    if moment is None:
        return None
    now_s = time.monotonic() if now_s is None else now_s
    return figures(moment, course, context_shift=context_shift, now_s=now_s)


def moment_of(session: Session) -> Moment | None:
    """Read what there is to read; None where no model is loaded."""
    plan, loaded = session.plan, session.loaded  # another thread may be loading meanwhile
    if plan is None or loaded is None:
        return None
    meters = session.measuring.meters
    return Moment(
        plan=plan,
        loaded=loaded,
        compared=session.memory_comparison(),
        live=Live() if meters is None else meters.live(),
        healths=() if meters is None else meters.health(),
        resident_bytes=session.resident_bytes(),
    )


def figures(moment: Moment, course: Course, *, context_shift: bool, now_s: float) -> RunFigures:
    """Return the figures of a moment, the course's beside it."""
    plan, live = moment.plan, moment.live
    course.seen(live, now_s)
    return RunFigures(
        speed=_speed(plan, course, now_s),
        power=_power(plan, course, live, now_s),
        memory=memory_of(
            plan, moment.loaded, moment.compared, moment.healths, moment.resident_bytes
        ),
        context=_context(moment.loaded, course, context_shift=context_shift),
        heat=_heat(live),
    )


# -- speed -------------------------------------------------------------------------------------


def _speed(plan: Plan, course: Course, now_s: float) -> SpeedFigures:
    n_gen = course.n_gen if course.stats is None else course.stats.n_gen
    estimate = course.predictor(plan).predicted(
        "tg", n_tokens=max(n_gen - 1, 1), depth=_depth(plan, course)
    )
    stats = course.stats
    return SpeedFigures(
        phase=course.phase,
        n_gen=n_gen,
        now_tok_s=course.tok_s(now_s),
        answer=reconciled_speed(estimate, course.mean_tok_s),
        history=course.speeds(),
        prompt=_prompt(plan, course),
        waiting_s=course.waiting_s(now_s),
        ttft_s=course.waited_s if stats is None else stats.ttft_s,
        ttft_seen=stats is None,
    )


def _depth(plan: Plan, course: Course) -> int:
    """Tokens before the answer's; before there is one, as many as the plan's own estimate has."""
    if course.n_prompt is not None:
        return course.n_prompt
    return 0 if plan.speed is None else plan.speed.at_depth


def _prompt(plan: Plan, course: Course) -> PromptFigures | None:
    stats, progress = course.stats, course.prompt
    if stats is not None:
        n_done = n_total = stats.n_prompt
        n_cached = stats.n_cached
    elif progress is not None:
        n_done, n_total, n_cached = progress.n_done, progress.n_total, progress.n_cached
    else:
        return None
    estimate = course.prompt_estimate(plan, n_tokens=n_total - n_cached, n_cached=n_cached)
    speed = reconciled_speed(estimate, course.pp_tok_s())
    return PromptFigures(n_done=n_done, n_total=n_total, n_cached=n_cached, speed=speed)


# -- power -------------------------------------------------------------------------------------


def _power(plan: Plan, course: Course, live: Live, now_s: float) -> PowerFigures:
    n_gen = max(course.n_gen - 1, 1)
    decoding = _expected(plan, course, live, n_gen=n_gen, depth=_depth(plan, course))
    expected, reads = decoding, course.phase in ("asked", "prompt")
    if reads and course.prompt is not None:
        n_cached = course.prompt.n_cached
        n_new = max(course.prompt.n_total - n_cached, 1)
        expected = _expected(plan, course, live, n_prompt=n_new, depth=n_cached)
    missing = live.missing
    if live.watts is None and live.scope is not None and course.phase == "idle":
        missing = RESTING
    return PowerFigures(
        watts=_watts(plan, live, expected, missing, whole=not reads),
        scope=live.scope,
        sources=live.sources,
        window_s=live.window_s,
        fix=live.fix if live.watts is None else None,
        history=course.watts(now_s),
        expected_joules=_joules(decoding, None),
        expected_scope=None if decoding is None else decoding.scope,
        so_far=_so_far(course, decoding),
        last=None if course.last is None else _taken(plan, course, course.last),
    )


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


def _watts(
    plan: Plan, live: Live, expected: ExpectedEnergy | None, missing: str | None, *, whole: bool
) -> Reconciled:
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
        unmeasured=missing if live.watts is None else None,
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


# -- context and heat --------------------------------------------------------------------------


def _context(loaded: Loaded, course: Course, *, context_shift: bool) -> ContextFigures:
    at_end: AtEnd = "stops"
    if context_shift:
        at_end = "shifts" if loaded.can_shift else "cannot shift"
    n_used, shifted = _n_used(loaded, course)
    return ContextFigures(n_ctx=loaded.n_ctx, n_used=n_used, at_end=at_end, shifted=shifted)


def _n_used(loaded: Loaded, course: Course) -> tuple[int | None, bool]:
    """Return how many tokens the context holds, and whether that is lost count of."""
    if course.stats is not None:
        return course.stats.n_ctx_used, False
    if course.prompt is None:
        return None, False
    if course.phase == "prompt":
        return course.prompt.n_done, False
    n_used = course.prompt.n_total + course.n_gen
    return (n_used, False) if n_used <= loaded.n_ctx else (None, True)


def _heat(live: Live) -> HeatFigures:
    known = live.temperature_c is not None or live.clock_mhz is not None
    told = live.throttle_told or bool(live.throttle)
    return HeatFigures(
        temperature_c=live.temperature_c,
        clock_mhz=live.clock_mhz,
        clock_max_mhz=live.clock_max_mhz,
        throttle=live.throttle,
        throttle_told=told,
        unknown=None if known or told else NO_HEALTH,
    )
