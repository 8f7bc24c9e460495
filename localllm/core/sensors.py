"""Energy from a sensor of watts: readings of the moment, and averages that look back.

Nothing is said of times without readings. An average shows a change only half its window later,
so what it has not shown yet at the edges of a window is accounted for (``unshown_j``).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from localllm.core.readings import Reading, Source, Unmeasured
from localllm.core.stretches import Look, longest_gap_s, looks, silence, too_short


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
    # The first and the last may be bridged by a reading just outside; a hole is a hole.
    if max(holes) > longest_gap_s(source):
        return silence(source, max(holes))
    if source.kind == "average" and source.window_s > 0:
        joules, sigma_j = _averaged_j(source, found, began_s, ended_s)
    else:
        joules, sigma_j = _sampled_j(source, found, began_s, ended_s)
    return max(0.0, joules), sigma_j, len(inside)


def trapezoid_j(looks: Sequence[Look]) -> float:
    """Return the integral of straight lines from look to look."""
    return sum((b.t_s - a.t_s) * (a.value + b.value) / 2 for a, b in pairwise(looks))


# ------------------------------------------------------------------- readings of the moment


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
    around = [
        *[look for look in moved if look.t_s < began_s][-1:],
        *inside,
        *[look for look in moved if look.t_s > ended_s][:1],
    ]
    sigma_j = _sampling_sigma_j(around)
    if around[0] is inside[0]:
        sigma_j = math.hypot(sigma_j, inside[0].value * abs(inside[0].t_s - began_s) / 2)
    if around[-1] is inside[-1]:
        sigma_j = math.hypot(sigma_j, inside[-1].value * abs(ended_s - inside[-1].t_s) / 2)
    return trapezoid_j(filled), sigma_j


def _sampling_sigma_j(around: Sequence[Look]) -> float:
    """Return the error of a trapezoid over samples, by what the readings themselves say.

    Samples that know nothing of one another differ by twice their variance, and each stands for
    one interval: half the sum of (difference times interval) squared.
    """
    return math.sqrt(
        sum(
            (b.t_s - a.t_s) * (b.value - a.value) * (b.t_s - a.t_s) * (b.value - a.value)
            for a, b in pairwise(around)
        )
        / 2
    )


# ------------------------------------------------------------------- averages that look back


def unshown_j(watts: float, window_s: float) -> float:
    """Return the energy spent by a moment that an average has still to show, in joules.

    With even power over the window before the moment: half of it. A step from idle to load,
    integrated over the load alone, therefore loses ``window / 2 * (load - idle)``.
    """
    return window_s / 2 * watts


def _averaged_j(
    source: Source, found: Sequence[Look], began_s: float, ended_s: float
) -> tuple[float, float]:
    """Return joules and standard error of a mean over the last ``window_s``.

    ``E = integral of the average + what is unshown at the end - what was unshown at the begin``.
    """
    curve = _Curve(found)
    begin_j, begin_sigma_j = _unshown_at(source, curve, began_s)
    end_j, end_sigma_j = _unshown_at(source, curve, ended_s)
    spread_s = max(look.spread_s for look in found)
    swing_w = curve.range_w(began_s - source.window_s, ended_s + source.window_s)
    late_j = swing_w * spread_s / math.sqrt(12)
    # Before the first and after the last reading the average is held; it moves at most so fast.
    beyond_s = max(0.0, curve.began_s - began_s, ended_s - curve.ended_s)
    held_j = curve.highest_w * beyond_s * min(1.0, beyond_s / source.window_s)
    unseen_j = 0.0
    if source.duty < 1:
        # The means of windows apart are samples of one power.
        steps = [
            abs(curve.at(look.t_s) - curve.at(look.t_s - source.window_s))
            for look in found
            if began_s <= look.t_s - source.window_s and look.t_s <= ended_s
        ]
        typical_w = sorted(steps)[len(steps) // 2] if steps else swing_w
        unseen_j = typical_w * math.sqrt((ended_s - began_s) * source.window_s)
    joules = curve.area_j(began_s, ended_s) + end_j - begin_j
    return joules, math.hypot(begin_sigma_j, end_sigma_j, late_j, held_j, unseen_j)


def _unshown_at(source: Source, curve: _Curve, t_s: float) -> tuple[float, float]:
    """Return ``unshown_j`` at a moment, and its standard error.

    With ``A`` the average and ``D`` what is unshown, ``D(t) = D(t - w) + w A(t) - integral of A
    over (t - w, t)``, whatever the power did. So it is enough that power was even at some time
    whole windows away, before or after: the steadiest of those within reach is taken.
    """
    w = source.window_s
    best: tuple[float, float] | None = None
    for steps in (0, -1, 1, -2, 2):
        base_s = t_s + steps * w
        if not (curve.began_s <= base_s <= curve.ended_s or steps == 0):
            continue
        joules = unshown_j(curve.at(base_s), w)
        if steps < 0:
            joules += w * sum(curve.at(t_s - i * w) for i in range(-steps))
            joules -= curve.area_j(base_s, t_s)
        else:
            joules -= w * sum(curve.at(t_s + i * w) for i in range(1, steps + 1))
            joules += curve.area_j(t_s, base_s)
        # A step within the window makes at most w / 8 of its height.
        sigma_j = w / 8 * curve.unrest_w(base_s, w) + w * curve.noise_w * math.sqrt(abs(steps))
        if best is None or sigma_j < best[1]:
            best = (joules, sigma_j)
    assert best is not None  # zero steps are always within reach
    return best


class _Curve:
    """Readings of an average as a line from look to look, held beyond both ends."""

    def __init__(self, found: Sequence[Look]) -> None:
        """Keep the looks."""
        self._found = found
        self._times = [look.t_s for look in found]
        self.began_s, self.ended_s = self._times[0], self._times[-1]
        self.highest_w = max(look.value for look in found)
        bends = [
            b.value - (a.value + c.value) / 2
            for a, b, c in zip(found, found[1:], found[2:], strict=False)
        ]
        # Bends of pure noise have 1.5 of its variance; the median leaves the corners of steps out.
        middle = sorted(abs(bend) for bend in bends)[len(bends) // 2] if bends else 0.0
        self.noise_w = 1.4826 * middle / math.sqrt(1.5)

    def at(self, t_s: float) -> float:
        """Return the average at a moment, in watts."""
        after = bisect_right(self._times, t_s)
        if after == 0:
            return self._found[0].value
        if after == len(self._times):
            return self._found[-1].value
        a, b = self._found[after - 1], self._found[after]
        return a.value + (b.value - a.value) * (t_s - a.t_s) / (b.t_s - a.t_s)

    def area_j(self, began_s: float, ended_s: float) -> float:
        """Return the integral from one moment to a later one, in joules."""
        inner = [look for look in self._found if began_s < look.t_s < ended_s]
        edge = self._found[0]
        return trapezoid_j([_with(edge, self, began_s), *inner, _with(edge, self, ended_s)])

    def range_w(self, began_s: float, ended_s: float) -> float:
        """Return by how much the average moved in a time, in watts."""
        values = [look.value for look in self._found if began_s < look.t_s < ended_s]
        values += [self.at(began_s), self.at(ended_s)]
        return max(values) - min(values)

    def unrest_w(self, t_s: float, window_s: float) -> float:
        """Return how uneven power may have been over the window before a moment, in watts.

        An average that did not move over a window says that power repeated the window before it;
        either side of the moment can say so. Where neither is known, all that was seen may be.
        """
        sides = [
            self.range_w(a, b)
            for a, b in ((t_s - window_s, t_s), (t_s, t_s + window_s))
            if self.began_s <= a and b <= self.ended_s
        ]
        return min(sides, default=self.range_w(self.began_s, self.ended_s))


def _with(look: Look, curve: _Curve, t_s: float) -> Look:
    """A point of the curve."""
    return Look(t_s=t_s, spread_s=look.spread_s, value=curve.at(t_s))


def _at(look: Look, t_s: float) -> Look:
    """The same value at another time."""
    return Look(t_s=t_s, spread_s=look.spread_s, value=look.value)
