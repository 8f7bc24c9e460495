"""The readings that may speak for a window: what a window must not hold, and how far to look.

Shared by the arithmetic of counters and of power sensors; no energy is computed here.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from localllm.core.metered.readings import Reading, Source, Trace, Unmeasured
from localllm.units import format_duration

GAP_PERIODS = 5
"""A meter that is silent for longer than so many of its periods has left a hole."""
GAP_S = 0.5
"""The least such hole: samplers look a few times a second at meters that move faster."""
ROUGH_VALUES = 10
"""With fewer new values a window's energy is rough."""

MOST = 2**64 / 1000
"""The most joules, and more than any watts, that a meter can give: 64 bits of millijoules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A value that a meter came up with, and when."""

    t_s: float
    """Middle of the time in which it may have come up."""
    spread_s: float
    """Length of that time: the moment is uniform within it."""
    value: float
    """Joules or watts."""

    @property
    def earliest_s(self) -> float:
        """The earliest moment at which it may have come up."""
        return self.t_s - self.spread_s / 2

    @property
    def latest_s(self) -> float:
        """The latest such moment."""
        return self.t_s + self.spread_s / 2

    @property
    def sigma_s(self) -> float:
        """Standard error of ``t_s``."""
        return self.spread_s / math.sqrt(12)


def longest_gap_s(source: Source) -> float:
    """Return for how long a meter may be silent before nothing is said of that time."""
    return max(GAP_PERIODS * source.period_s, GAP_S)


def stretch(trace: Trace, began_s: float, ended_s: float) -> tuple[Reading, ...] | Unmeasured:
    """Return the readings in and around a window, without those beyond a suspend.

    Unmeasured where the window is empty or holds a suspend, or the meter was lost in it.
    """
    if not (math.isfinite(began_s) and math.isfinite(ended_s) and began_s < ended_s):
        return Unmeasured(reason="the window is empty")
    if any(began_s <= moment <= ended_s for moment in trace.slept_s):
        return Unmeasured(reason="the machine slept in the meantime", spoilt=True)
    source = trace.source
    margin_s = 2 * longest_gap_s(source) + 3 * source.window_s
    low_s = max((t for t in trace.slept_s if t < began_s), default=-math.inf)
    high_s = min((t for t in trace.slept_s if t > ended_s), default=math.inf)
    near = tuple(
        reading
        for reading in between(
            trace.readings, max(low_s, began_s - margin_s), min(high_s, ended_s + margin_s)
        )
        if usable(source, reading)
    )
    if trace.lost is not None and (not near or near[-1].t_s < ended_s):
        return Unmeasured(reason=trace.lost, spoilt=True)
    if not near:
        return Unmeasured(reason=f"no reading of {source.label} in the window")
    return near


def between(readings: Sequence[Reading], low_s: float, high_s: float) -> Sequence[Reading]:
    """Return the readings from ``low_s`` to ``high_s``, both ends included."""
    first = bisect_left(readings, low_s, key=_time)
    last = bisect_right(readings, high_s, lo=first, key=_time)
    return readings[first:last]


def usable(source: Source, reading: Reading) -> bool:
    """Whether a reading holds a figure that a meter can give."""
    value = value_of(source, reading)
    return value is not None and 0 <= value <= MOST


def value_of(source: Source, reading: Reading) -> float | None:
    """Return the joules of a counter, the watts of anything else."""
    return reading.joules if source.kind == "counter" else reading.watts


def looks(source: Source, readings: Sequence[Reading]) -> tuple[Look, ...]:
    """Return when new values came up: a value read again is the same look.

    A new value came up after the reading before it, and at most one period before its own. A
    counter moves at each look; a sensor may come to the same watts again, so equal watts count
    once a period.
    """
    found: list[Look] = []
    kept_s = -math.inf
    previous: Reading | None = None
    for reading in readings:
        value = value_of(source, reading)
        if value is None:
            continue
        if previous is not None:
            gap_s = reading.t_s - previous.t_s
        else:
            # Watts that were there before anybody looked say nothing of a time before that.
            gap_s = source.period_s if source.kind == "counter" else 0.0
        previous = reading
        again = bool(found) and value == found[-1].value
        # A little under a period, as readings come with a jitter of their own.
        if again and (source.kind == "counter" or reading.t_s - kept_s < 0.9 * source.period_s):
            continue
        spread_s = min(gap_s, source.period_s)
        found.append(Look(t_s=reading.t_s - spread_s / 2, spread_s=spread_s, value=value))
        kept_s = reading.t_s
    return tuple(found)


def student(n: int) -> float:
    """Return by how much a standard error from ``n`` differences must grow to be used as one.

    Student's over the normal distribution's 97.5 % point, within 5 % for ``n`` of 3 and more.
    """
    return 1 + 1.6 / max(n - 1, 1)


def silence(source: Source, seconds: float) -> Unmeasured:
    """Return what is said of a hole in the readings."""
    return Unmeasured(reason=f"{source.label} was silent for {format_duration(seconds)}")


def too_short(source: Source, seconds: float) -> Unmeasured:
    """Return what is said of a window into which no new value fell."""
    return Unmeasured(
        reason=f"no new value of {source.label} fell into the {format_duration(seconds)}"
    )


def _time(reading: Reading) -> float:
    return reading.t_s
