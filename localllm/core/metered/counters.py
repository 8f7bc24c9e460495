"""Energy from a counter of joules: exact between its ticks, filled in at the window's two edges.

The edges are the whole statistical error. Without moving them to ticks it is ``edge_sigma_j``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from localllm.core.metered.readings import Reading, Source, Unmeasured
from localllm.core.metered.stretches import (
    Look,
    longest_gap_s,
    looks,
    silence,
    student,
    too_short,
)
from localllm.core.metered.ticks import narrowed

QUANTUM_J = 0.001
"""NVML counts millijoules; RAPL's steps (15 to 61 µJ) are finer."""

WITHIN = 3.0
"""Power varies more within the time between two ticks than from one such time to the next: by so
much, for square waves of about that length (simulated)."""

RIPPLE = 0.1
"""Share of its power by which a load is taken to vary within a tick without showing: tokens come
faster than ticks."""

FEW_TICKS = 4
"""With fewer ticks their own differences are too few to tell what a part-time sensor missed."""

FELL = "the energy counter fell: its driver was loaded anew"


def edge_sigma_j(period_s: float, watts: float) -> float:
    """Return the standard error of ``e(t1) - e(t0)`` with edges anywhere between ticks, in joules.

    Each edge is off by a time uniform in one period; the difference of two such times has the
    standard deviation ``period / sqrt(6)``.
    """
    return period_s / math.sqrt(6) * watts


def counted_j(
    source: Source, readings: Sequence[Reading], began_s: float, ended_s: float
) -> tuple[float, float, int] | Unmeasured:
    """Return joules, their standard error and the number of ticks of a window."""
    ticks = narrowed(source, looks(source, readings), (began_s, ended_s))
    inside = [i for i, tick in enumerate(ticks) if began_s <= tick.t_s <= ended_s]
    if not inside:
        return too_short(source, ended_s - began_s)
    first, last = inside[0], inside[-1]
    around = ticks[max(first - 1, 0) : last + 2]
    if any(b.value < a.value for a, b in pairwise(around)):
        return Unmeasured(reason=FELL, spoilt=True)
    hole_s = max(ticks[first].t_s - began_s, ended_s - ticks[last].t_s)
    if hole_s > longest_gap_s(source):
        return silence(source, hole_s)
    inner = ticks[first : last + 1]
    if source.duty >= 1:
        spread_w = _rate_sigma_w(_rates(inner))
    else:
        # Few looks into a window tell little of it: what was before and after counts as well.
        more = max(0, FEW_TICKS - len(inner))
        spread_w = _part_time_sigma_w(source, ticks[max(first - more, 0) : last + 1 + more])
    left_j, left_sigma_j = _edge_j(source, inner, ticks[:first][::-1], began_s, spread_w)
    right_j, right_sigma_j = _edge_j(source, inner[::-1], ticks[last + 1 :], ended_s, spread_w)
    sigma_j = math.hypot(
        left_sigma_j,
        right_sigma_j,
        QUANTUM_J / math.sqrt(6),
        _unseen_sigma_j(source, inner, spread_w),
    )
    return ticks[last].value - ticks[first].value + left_j + right_j, sigma_j, len(inside)


def _edge_j(
    source: Source, inner: Sequence[Look], outer: Sequence[Look], edge_s: float, spread_w: float
) -> tuple[float, float]:
    """Return the joules between an edge and the first tick inside, and their standard error.

    ``inner`` and ``outer`` lead away from the edge, into the window and out of it. Power is likely
    to change at the very edge, so two accounts are drawn up: the rate inside goes on to the edge;
    what was counted across the edge, less the rate outside up to it. They agree on a step at the
    edge and on no step; half of what they differ by is the error. Nothing leaves the bounds of
    what was counted across the edge.
    """
    near = inner[0]
    part_s = abs(near.t_s - edge_s)
    rate_w, base_s = _rate_w(source, inner)
    if not outer:
        # Nothing was counted beyond: the rate goes on, or falls to 0, or rises to the highest.
        if rate_w is None:
            return 0.0, math.inf
        return rate_w * part_s, _peak_w(source, inner) * (part_s / 2 + near.sigma_s)
    far = outer[0]
    across_j, across_s = abs(near.value - far.value), abs(near.t_s - far.t_s)
    share = part_s / across_s if across_s > 0 else 1.0
    outer_w, _ = _rate_w(source, outer)
    even_j = across_j * share
    # When a part-time sensor looked is not known: what it counted across the edge bounds nothing.
    most_j = across_j if source.duty >= 1 else math.inf
    from_inside_j = even_j if rate_w is None else min(rate_w * part_s, most_j)
    from_outside_j = (
        even_j if outer_w is None else max(0.0, across_j - outer_w * max(across_s - part_s, 0.0))
    )
    known = [w for w in (rate_w, outer_w) if w is not None]
    # Of the quieter side: where that is still, the accounts differ by the ripple of the other.
    spread_w = max(spread_w, RIPPLE * min(known, default=0.0))
    fastest_w = max(known, default=across_j / across_s if across_s > 0 else 0.0)
    both = len(known) == 2
    sigma_j = math.hypot(
        (from_inside_j - from_outside_j) / (2 if source.duty >= 1 else 1),
        WITHIN * spread_w * across_s * math.sqrt(share * (1 - share)),
        # The ticks' times move the accounts apart as well; one account alone leans on its rate.
        fastest_w * near.sigma_s * (1 if both or base_s == 0 else 1 + part_s / base_s),
        # With no rate on one side the middle is a guess within what was counted.
        0.0 if both else even_j * (1 - share),
    )
    if source.duty < 1:
        return from_inside_j, sigma_j
    return (from_inside_j + from_outside_j) / 2, sigma_j


def _rate_w(source: Source, ticks: Sequence[Look]) -> tuple[float | None, float]:
    """Return the power next to ``ticks[0]`` and over which time; None where no tick follows."""
    chosen: Look | None = None
    for tick in ticks[1:]:
        chosen = tick
        if _far_enough(source, ticks[0], tick):
            break
    if chosen is None or chosen.t_s == ticks[0].t_s:
        return None, 0.0
    seconds = abs(chosen.t_s - ticks[0].t_s)
    return abs(chosen.value - ticks[0].value) / seconds, seconds


def _peak_w(source: Source, ticks: Sequence[Look]) -> float:
    """Return the highest power between ticks that are far enough apart to tell one."""
    base, peak_w = ticks[0], 0.0
    for tick in ticks[1:]:
        if _far_enough(source, base, tick) or (tick is ticks[-1] and peak_w == 0):
            seconds = abs(tick.t_s - base.t_s)
            peak_w = max(peak_w, abs(tick.value - base.value) / seconds if seconds > 0 else 0.0)
            base = tick
    return peak_w


def _far_enough(source: Source, one: Look, other: Look) -> bool:
    """Whether the times of two ticks are known well enough to make a rate."""
    return abs(other.t_s - one.t_s) >= max(0.9 * source.period_s, 4 * one.spread_s)


def _rate_sigma_w(rates: Sequence[tuple[float, float, float]]) -> float:
    """Return how much power varies from one tick to the next, beyond what their times explain.

    From successive differences, so that a slow ramp does not count. The difference of two
    neighbouring rates holds three times with weights -1, 2, -1: 6 of their variances.
    """
    excess = [
        (w1 - w0) * (w1 - w0) - 6 * (max(w0, w1) * sigma_s / dt_s) * (max(w0, w1) * sigma_s / dt_s)
        for (w0, _, _), (w1, dt_s, sigma_s) in pairwise(rates)
    ]
    if not excess:
        return 0.0
    return student(len(excess)) * math.sqrt(max(0.0, sum(excess) / (2 * len(excess))))


def _part_time_sigma_w(source: Source, ticks: Sequence[Look]) -> float:
    """Return the same for a counter whose sensor looks only part of the time.

    Its ticks are a whole number of its periods apart, which is known better than when each was
    seen. A load at almost the sensor's pace makes neighbours alike; pairs of them differ by more.
    """

    def rates(some: Sequence[Look]) -> list[tuple[float, float, float]]:
        return [
            ((b.value - a.value) / seconds, seconds, 0.0)
            for a, b in pairwise(some)
            if (seconds := source.period_s * max(1, round((b.t_s - a.t_s) / source.period_s))) > 0
        ]

    return max(_rate_sigma_w(rates(ticks)), math.sqrt(2) * _rate_sigma_w(rates(ticks[::2])))


def _rates(ticks: Sequence[Look]) -> list[tuple[float, float, float]]:
    """Return watts, length and standard error of the end of each time between two ticks."""
    return [
        (abs(b.value - a.value) / seconds, seconds, b.sigma_s)
        for a, b in pairwise(ticks)
        if (seconds := abs(b.t_s - a.t_s)) > 0
    ]


def _unseen_sigma_j(source: Source, ticks: Sequence[Look], spread_w: float) -> float:
    """Return the error of a counter whose sensor looks only part of the time, in joules.

    Each tick's energy is then a sample of the time before it, taken at an unknown place in it: the
    whole curve may be shifted by as much.
    """
    if source.duty >= 1 or len(ticks) < 2:
        return 0.0
    rates = _rates(ticks)
    squares = sum(seconds * seconds for _, seconds, _ in rates)
    shift_s = (1 - source.duty) * source.period_s / 2 / math.sqrt(3)
    change_w = abs(rates[-1][0] - rates[0][0]) if rates else 0.0
    return math.hypot(spread_w * math.sqrt(squares), shift_s * change_w)
