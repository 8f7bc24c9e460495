"""Energy from a sensor of watts, and that of readings which know only their own moment.

Nothing is said of times without readings. Averages that look back are in ``averages.py``.

A sensor that looks only part of the time is taken at its readings' word: what they vary by is their
error. A load in step with it, seen always at the same place, looks even to it and to this file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from localllm.core.metered.averages import averaged_j, trapezoid_j
from localllm.core.metered.readings import Reading, Source, Unmeasured
from localllm.core.metered.stretches import Look, longest_gap_s, looks, silence, student, too_short

QUANTUM_W = 0.001
"""NVML tells milliwatts and cuts off the rest; others are finer."""


def integrated_j(
    source: Source, readings: Sequence[Reading], began_s: float, ended_s: float
) -> tuple[float, float, int] | Unmeasured:
    """Return joules, their standard error and the number of new values of a window."""
    found = looks(source, readings)
    inside = [look for look in found if began_s <= look.t_s <= ended_s]
    if not inside:
        return too_short(source, ended_s - began_s)
    times = [began_s, *(look.t_s for look in inside), ended_s]
    holes = [b - a for a, b in pairwise(times)]
    if max(holes) > longest_gap_s(source):
        return silence(source, max(holes))
    if source.kind == "average" and source.window_s > 0:
        joules, sigma_j = averaged_j(source, found, began_s, ended_s)
    else:
        joules, sigma_j = _sampled_j(source, found, began_s, ended_s)
    sigma_j = math.hypot(sigma_j, QUANTUM_W * (ended_s - began_s))
    return max(0.0, joules), sigma_j, len(inside)


def _sampled_j(
    source: Source, found: Sequence[Look], began_s: float, ended_s: float
) -> tuple[float, float]:
    """Return joules and standard error of readings that know only their own moment.

    A sensor that looks at ``duty`` of its period averages over that, just before each value. The
    power at an edge is that of the nearest reading inside: power changes at the edges.
    """
    look_s = source.duty * source.period_s if source.duty < 1 else 0.0
    moved = [_at(look, look.t_s - look_s / 2) for look in found]
    inside = [look for look in moved if began_s <= look.t_s <= ended_s]
    if not inside:
        inside = [min(moved, key=lambda look: abs(look.t_s - began_s))]
    filled = [_at(inside[0], began_s), *inside, _at(inside[-1], ended_s)]
    # To the next looks that surely came up before and after the window: a step at its very edge
    # shows in them.
    first = max((i for i, look in enumerate(moved) if look.latest_s <= began_s), default=0)
    last = min((i for i, look in enumerate(moved) if look.earliest_s >= ended_s), default=None)
    around = moved[first:] if last is None else moved[first : last + 1]
    sigma_j = max(_sampling_sigma_j(around), _pairs_sigma_j(inside))
    if around[0] is inside[0]:  # nothing is known of a time before
        sigma_j = math.hypot(sigma_j, inside[0].value * abs(inside[0].t_s - began_s) / 2)
    if around[-1] is inside[-1]:
        sigma_j = math.hypot(sigma_j, inside[-1].value * abs(ended_s - inside[-1].t_s) / 2)
    return trapezoid_j(filled), sigma_j


def _sampling_sigma_j(looks: Sequence[Look]) -> float:
    """Return the error of a trapezoid over samples, by what the readings themselves say.

    Samples that know nothing of one another differ by twice their variance, and each stands for
    one interval: half the sum of (difference times interval) squared.
    """
    unlike = [(b.t_s - a.t_s) * (b.value - a.value) for a, b in pairwise(looks)]
    return student(len(unlike)) * math.sqrt(sum(part * part for part in unlike) / 2)


def _pairs_sigma_j(looks: Sequence[Look]) -> float:
    """Return the same from pairs of intervals.

    A load that repeats at almost the sensor's pace makes neighbours alike; pairs differ by more.
    """
    pairs = [
        (trapezoid_j((a, b, c)), c.t_s - a.t_s)
        for a, b, c in zip(looks[::2], looks[1::2], looks[2::2], strict=False)
    ]
    unlike = [b_j - a_j * b_s / a_s for (a_j, a_s), (b_j, b_s) in pairwise(pairs) if a_s > 0]
    # A few pairs cannot be told from a load that changes once.
    if len(unlike) < 4:
        return 0.0
    return student(len(unlike)) * math.sqrt(sum(part * part for part in unlike) / 2)


def _at(look: Look, t_s: float) -> Look:
    """The same value at another time."""
    return Look(t_s=t_s, spread_s=look.spread_s, value=look.value)
