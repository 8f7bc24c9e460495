"""A made power curve whose energy is known exactly, and meters that look at it as real ones do."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from localllm.core.metered.readings import Reading, Source, Trace


class Truth:
    """Power over time: straight lines between points, held beyond them; two at one time: a step."""

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        self._points = list(points)
        self._times = [t for t, _ in self._points]
        self._sums = [0.0]
        for (t0, w0), (t1, w1) in zip(self._points, self._points[1:], strict=False):
            self._sums.append(self._sums[-1] + (t1 - t0) * (w0 + w1) / 2)

    def joules(self, t_s: float) -> float:
        """Energy since the first point; before it negative."""
        i = bisect_right(self._times, t_s) - 1
        if i < 0:
            return (t_s - self._times[0]) * self._points[0][1]
        t0, w0 = self._points[i]
        if i + 1 == len(self._points):
            return self._sums[i] + (t_s - t0) * w0
        t1, w1 = self._points[i + 1]
        x = t_s - t0
        return self._sums[i] + x * (w0 + (w1 - w0) / (t1 - t0) * x / 2)

    def mean_w(self, began_s: float, ended_s: float) -> float:
        return (self.joules(ended_s) - self.joules(began_s)) / (ended_s - began_s)


def steps(levels: Sequence[tuple[float, float]], end_s: float) -> Truth:
    """Power that jumps to each (time, watts) and stays there."""
    points: list[tuple[float, float]] = []
    for i, (t, w) in enumerate(levels):
        until = levels[i + 1][0] if i + 1 < len(levels) else end_s
        points += [(t, w), (until, w)]
    return Truth(points)


def square(rng: random.Random, low_w: float, high_w: float, half_s: float, end_s: float) -> Truth:
    """A square wave whose halves last ``half_s``, a fifth more or less."""
    levels, t, high = [], -half_s * rng.random(), rng.random() < 0.5
    while t < end_s:
        levels.append((t, high_w if high else low_w))
        t += half_s * rng.uniform(0.8, 1.2)
        high = not high
    return steps(levels, end_s)


def noise(rng: random.Random, mean_w: float, sigma_w: float, step_s: float, end_s: float) -> Truth:
    """Power that is drawn anew every ``step_s``."""
    n = math.ceil(end_s / step_s)
    return steps([(i * step_s, max(1.0, rng.gauss(mean_w, sigma_w))) for i in range(n)], end_s)


def sampled(rng: random.Random, every_s: float, began_s: float, ended_s: float) -> Iterator[float]:
    """Times of a sampler that is late now and then."""
    t = began_s + every_s * rng.random()
    while t < ended_s:
        yield t
        late = rng.random() < 0.01
        t += every_s * (rng.uniform(2, 4) if late else rng.uniform(0.9, 1.3))


def traced(
    truth: Truth,
    source: Source,
    rng: random.Random,
    *,
    every_s: float,
    began_s: float,
    ended_s: float,
    quantum: float = 0.001,
    gain: float = 0.0,
    uneven_s: float = 0.0,
) -> Trace:
    """What a meter of this kind shows of the truth. Its phase is its own.

    A counter shows the joules up to its last tick, an average the mean over the window before it;
    a reading of the moment is the mean over ``duty`` of the period before it, of a few µs where
    ``duty`` is 1. A counter with a duty adds up just what was looked at. ``uneven_s``: standard
    deviation by which ticks come off their pace.
    """
    seen = _Seen(truth, source, rng.random() * source.period_s, began_s, ended_s, uneven_s)
    readings = []
    for t in sampled(rng, every_s, began_s, ended_s):
        value = math.floor(seen.value(seen.last_tick(t)) * (1 + gain) / quantum) * quantum
        if source.kind == "counter":
            readings.append(Reading(t_s=t, joules=value))
        else:
            readings.append(Reading(t_s=t, watts=value))
    return Trace(source=source, readings=tuple(readings))


class _Seen:
    """The values of a meter at its ticks."""

    def __init__(
        self,
        truth: Truth,
        source: Source,
        phase_s: float,
        began_s: float,
        ended_s: float,
        uneven_s: float,
    ) -> None:
        self._truth, self._source, self._phase_s, self._uneven_s = truth, source, phase_s, uneven_s
        self._off_s: dict[int, float] = {}
        self._first = math.floor((began_s - phase_s) / source.period_s) - 2
        self._sums = [0.0]
        if source.duty < 1:
            n = math.ceil((ended_s - began_s) / source.period_s) + 5
            for tick in range(self._first, self._first + n):
                self._sums.append(self._sums[-1] + self._looked_w(tick) * source.period_s)

    def last_tick(self, t_s: float) -> int:
        tick = math.floor((t_s - self._phase_s) / self._source.period_s)
        if self._tick_s(tick) > t_s:
            return tick - 1
        return tick + 1 if self._tick_s(tick + 1) <= t_s else tick

    def value(self, tick: int) -> float:
        source, t = self._source, self._tick_s(tick)
        if source.kind == "counter":
            if source.duty < 1:
                return self._sums[tick - self._first + 1]
            return self._truth.joules(t) + 1000.0
        if source.kind == "average":
            return self._truth.mean_w(t - source.window_s, t)
        return self._looked_w(tick)

    def _tick_s(self, tick: int) -> float:
        even_s = tick * self._source.period_s + self._phase_s
        if self._uneven_s == 0:
            return even_s
        if tick not in self._off_s:
            most_s = 0.45 * self._source.period_s
            off_s = random.Random(f"{self._phase_s} {tick}").gauss(0, self._uneven_s)
            self._off_s[tick] = min(max(off_s, -most_s), most_s)
        return even_s + self._off_s[tick]

    def _looked_w(self, tick: int) -> float:
        t = self._tick_s(tick)
        look_s = self._source.duty * self._source.period_s if self._source.duty < 1 else 1e-5
        return self._truth.mean_w(t - look_s, t)
