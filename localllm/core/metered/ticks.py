"""When a counter ticked: known to the time between two readings, and better where ticks are even.

A counter read twice a period ticked anywhere between two readings. Its neighbours narrow that down
as long as one even pace fits them all; where none does, the ticks are left as they were seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from localllm.core.metered.readings import Source
from localllm.core.metered.stretches import Look

NEIGHBOURS = 6
"""To either side; as many as that must agree. With fewer, ticks that keep no pace agree by chance;
with more, a driver's pace is trusted over longer than it need be."""
NEAR_EDGE = 3
"""Periods to either side of an edge: only ticks there matter to a window."""
UNEVEN = 0.1
"""Share of a period by which a tick may be off an even pace that its neighbours allow."""
LEAST_LEFT = 0.5
"""Of what ``n`` even ticks leave of a time on average, its ``1 / (n + 1)``th part: ticks that leave
less than this share of it hardly agree, and are taken not to."""


def narrowed(source: Source, ticks: Sequence[Look], edges_s: Sequence[float]) -> tuple[Look, ...]:
    """Return the ticks, those near the edges at the times that an even pace leaves them.

    Their order stays, and so do ticks that were seen to within ``UNEVEN`` of a period, or only
    every few periods.
    """
    numbers = [0]
    for a, b in pairwise(ticks):
        numbers.append(numbers[-1] + max(1, round((b.t_s - a.t_s) / source.period_s)))
    found = list(ticks)
    reach_s = NEAR_EDGE * source.period_s
    for j, tick in enumerate(ticks):
        if all(abs(tick.t_s - edge_s) > reach_s for edge_s in edges_s):
            continue
        if not UNEVEN * source.period_s < tick.spread_s < source.period_s:
            continue
        before = _counted_on(source, ticks[max(j - NEIGHBOURS, 0) : j][::-1])
        after = _counted_on(source, ticks[j + 1 : j + 1 + NEIGHBOURS])
        if before + after >= NEIGHBOURS:
            near = range(j - before, j + after + 1)
            seen = [(numbers[i] - numbers[j], ticks[i]) for i in near]
            found[j] = _narrowed(tick, seen, UNEVEN * source.period_s)
    return tuple(found)


def _counted_on(source: Source, ticks: Sequence[Look]) -> int:
    """Return how many ticks follow without a pause in which some may have gone by unseen."""
    paused = (n for n, tick in enumerate(ticks) if tick.spread_s >= source.period_s)
    return next(paused, len(ticks))


def _narrowed(tick: Look, seen: Sequence[tuple[int, Look]], uneven_s: float) -> Look:
    """Return one tick by what is left of it; ``seen``: ticks by their number from it."""
    pairs = [(b[0] - a[0], a[1], b[1]) for i, a in enumerate(seen) for b in seen[i + 1 :]]
    fastest_s = max((b.earliest_s - a.latest_s) / n for n, a, b in pairs)
    slowest_s = min((b.latest_s - a.earliest_s) / n for n, a, b in pairs)
    earliest_s = max(one.earliest_s - n * (fastest_s if n < 0 else slowest_s) for n, one in seen)
    latest_s = min(one.latest_s - n * (slowest_s if n < 0 else fastest_s) for n, one in seen)
    left_s = latest_s - earliest_s
    if fastest_s > slowest_s or left_s < LEAST_LEFT * tick.spread_s / (len(seen) + 1):
        return tick
    spread_s = min(left_s + uneven_s, tick.spread_s)
    return replace(tick, t_s=(earliest_s + latest_s) / 2, spread_s=spread_s)
