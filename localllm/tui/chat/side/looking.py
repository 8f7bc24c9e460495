"""One look at a run: the figures of now, from the session, its meters and the answer so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from localllm.core.metered.live import Live
from localllm.core.metered.readings import Health
from localllm.core.reconcile import reconciled_speed
from localllm.tui.chat.side.course import Course
from localllm.tui.chat.side.figures import (
    AtEnd,
    ContextFigures,
    HeatFigures,
    PromptFigures,
    RunFigures,
    SpeedFigures,
)
from localllm.tui.chat.side.places import memory_of
from localllm.tui.chat.side.watts import power_of

if TYPE_CHECKING:
    from localllm.core.generation import Loaded
    from localllm.core.plan import Plan
    from localllm.core.reconcile import Comparison
    from localllm.session import Session

NOT_YET = "read while an answer comes"
_FRESH_S = 3.0
"""Devices are looked at once a second."""
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
        power=power_of(plan, course, live, now_s),
        memory=memory_of(
            plan, moment.loaded, moment.compared, moment.healths, moment.resident_bytes
        ),
        context=_context(moment.loaded, course, context_shift=context_shift),
        heat=_heat(moment, course, now_s),
    )


# -- speed -------------------------------------------------------------------------------------


def _speed(plan: Plan, course: Course, now_s: float) -> SpeedFigures:
    n_gen = course.n_gen if course.stats is None else course.stats.n_gen
    estimate = course.predictor(plan).predicted(
        "tg", n_tokens=max(n_gen - 1, 1), depth=course.depth(plan)
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


def _heat(moment: Moment, course: Course, now_s: float) -> HeatFigures:
    live = moment.live
    known = live.temperature_c is not None or live.clock_mhz is not None
    told = live.throttle_told or bool(live.throttle)
    last_s = max((health.t_s for health in moment.healths), default=now_s)
    unknown = NOT_YET if course.phase == "idle" and course.last is None else NO_HEALTH
    return HeatFigures(
        temperature_c=live.temperature_c,
        clock_mhz=live.clock_mhz,
        clock_max_mhz=live.clock_max_mhz,
        throttle=live.throttle,
        throttle_told=told,
        unknown=None if known or told else unknown,
        is_past=course.phase == "idle" and now_s - last_s > _FRESH_S,
    )
