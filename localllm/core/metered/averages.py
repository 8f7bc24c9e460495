"""Energy from an average that looks back: what it has shown, and what it has still to show.

A sensor that gives the mean of the last second shows a change only half a second later on average.
What it has not shown yet at the edges of a window (``unshown_j``) is accounted for.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from localllm.core.metered.readings import Source
from localllm.core.metered.stretches import Look


def trapezoid_j(looks: Sequence[Look]) -> float:
    """Return the integral of straight lines from look to look."""
    return sum((b.t_s - a.t_s) * (a.value + b.value) / 2 for a, b in pairwise(looks))


def unshown_j(watts: float, window_s: float) -> float:
    """Return the energy spent by a moment that an average has still to show, in joules.

    With even power over the window before the moment: half of it. A step from idle to load,
    integrated over the load alone, therefore loses ``window / 2 * (load - idle)``.
    """
    return window_s / 2 * watts


def averaged_j(
    source: Source, found: Sequence[Look], began_s: float, ended_s: float
) -> tuple[float, float]:
    """Return joules and standard error of a mean over the last ``window_s``.

    ``E = integral of the average + what is unshown at the end - what was unshown at the begin``.
    """
    curve = Curve(found)
    begin_j, begin_sigma_j = _unshown_at(source, curve, began_s)
    end_j, end_sigma_j = _unshown_at(source, curve, ended_s)
    spread_s = max(look.spread_s for look in found)
    swing_w = curve.range_w(began_s - source.window_s, ended_s + source.window_s)
    if ended_s - began_s < source.window_s:
        # A short burst of power hardly moves the average, but tilts it by the whole of its height.
        near = curve.slopes_w(source.window_s, began_s - spread_s, ended_s + spread_s)
        swing_w = max([swing_w, *near])
    late_j = swing_w * (spread_s + (1 - source.duty) * source.period_s) / math.sqrt(12)
    # Before the first and after the last reading the average is held; it moves at most so fast.
    beyond_s = max(0.0, curve.began_s - began_s, ended_s - curve.ended_s)
    held_j = curve.highest_w * beyond_s * min(1.0, beyond_s / source.window_s)
    unseen_j = source.window_s * math.sqrt((1 - source.duty) * curve.bends2(began_s, ended_s))
    joules = curve.area_j(began_s, ended_s) + end_j - begin_j
    return joules, math.hypot(begin_sigma_j, end_sigma_j, late_j, held_j, unseen_j)


def _unshown_at(source: Source, curve: Curve, t_s: float) -> tuple[float, float]:
    """Return ``unshown_j`` at a moment, and its standard error.

    With ``A`` the average and ``D`` what is unshown, ``D(t) = D(t - w) + w A(t) - integral of A
    over (t - w, t)``, whatever the power did. So it is enough that power was even at some time
    whole windows away, before or after: the steadiest of those within reach is taken.
    """
    ways = [0, *(n for n in (-1, 1, -2, 2) if curve.holds(t_s + n * source.window_s))]
    return min((_unshown_by(source, curve, t_s, n) for n in ways), key=lambda way: way[1])


def _unshown_by(source: Source, curve: Curve, t_s: float, steps: int) -> tuple[float, float]:
    """Return the same by way of ``steps`` windows later, or earlier where negative."""
    w = source.window_s
    base_s = t_s + steps * w
    sign = -1 if steps > 0 else 1
    between = range(1, steps + 1) if steps > 0 else range(steps + 1, 1)
    corners = [curve.corner(t_s + n * w) for n in between if steps != 0]
    base_w, base_sigma_w = curve.corner(base_s)
    joules = (
        unshown_j(base_w, w)
        + sign * w * sum(watts for watts, _ in corners)
        - sign * curve.area_j(min(base_s, t_s), max(base_s, t_s))
    )
    # A step within the window makes at most w / 8 of its height.
    sigma_j = math.hypot(
        w / 8 * curve.unrest_w(base_s, w),
        w / 2 * base_sigma_w,
        *(w * sigma_w for _, sigma_w in corners),
    )
    return joules, sigma_j


class Curve:
    """Readings of an average as a line from look to look, held beyond both ends."""

    def __init__(self, found: Sequence[Look]) -> None:
        """Keep the looks."""
        self._found = found
        self._times = [look.t_s for look in found]
        self.began_s, self.ended_s = self._times[0], self._times[-1]
        self.highest_w = max(look.value for look in found)

    def holds(self, t_s: float) -> bool:
        """Whether a moment lies within the readings."""
        return self.began_s <= t_s <= self.ended_s

    def bends2(self, began_s: float, ended_s: float) -> float:
        """Return the sum of squares by which looks are off the line between their neighbours."""
        found = [look.value for look in self._found if began_s <= look.t_s <= ended_s]
        return sum(
            (b - (a + c) / 2) * (b - (a + c) / 2)
            for a, b, c in zip(found, found[1:], found[2:], strict=False)
        )

    def corner(self, t_s: float) -> tuple[float, float]:
        """Return the average at a moment where it may have a corner, in watts, and its error.

        A step of power bends the average there: the lines of either side are drawn on to the
        moment, and half of what they differ by is the error.
        """
        after = bisect_right(self._times, t_s)
        if after < 2 or after > len(self._times) - 2:
            return self.at(t_s), 0.0
        left = _drawn_on(self._found[after - 2], self._found[after - 1], t_s)
        right = _drawn_on(self._found[after + 1], self._found[after], t_s)
        return (left + right) / 2, abs(left - right) / 2

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

        ``w dA/dt`` is power less power a window ago: where it is 0, power repeated the window
        before; either side of the moment can say so. Where neither is known, all that was seen
        may be.
        """
        sides = [
            max(self.slopes_w(window_s, a, b), default=0.0)
            for a, b in ((t_s - window_s, t_s), (t_s, t_s + window_s))
            if self.holds(a) and self.holds(b)
        ]
        return min(sides, default=self.range_w(self.began_s, self.ended_s))

    def slopes_w(self, window_s: float, began_s: float, ended_s: float) -> list[float]:
        """Return how far power differs from a window ago, from look to look, in watts."""
        inside = [look for look in self._found if began_s <= look.t_s <= ended_s]
        return [
            window_s * abs(b.value - a.value) / (b.t_s - a.t_s)
            for a, b in pairwise(inside)
            if b.t_s > a.t_s
        ]


def _with(look: Look, curve: Curve, t_s: float) -> Look:
    """A point of the curve."""
    return Look(t_s=t_s, spread_s=look.spread_s, value=curve.at(t_s))


def _drawn_on(far: Look, near: Look, t_s: float) -> float:
    """Return the line through two looks at a moment beyond the nearer one, in watts.

    It is drawn on by at most their distance: two looks close together say nothing of a slope.
    """
    base_s = abs(near.t_s - far.t_s)
    share = min(1.0, abs(t_s - near.t_s) / base_s) if base_s > 0 else 0.0
    return near.value + (near.value - far.value) * share
