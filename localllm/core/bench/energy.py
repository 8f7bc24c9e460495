"""Joules per token of a bench test, with its two errors: what scatters, and what does not.

Repetitions that follow each other without a pause make a stretch; a window is one or several
stretches whose energies are added. Several windows give a mean with a t-interval, a single one the
meter's own standard error: either way ``stat`` is half of a 95 % interval. ``gain`` is the sensor's
systematic error, which no repetition takes away.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from localllm.core.bench.statistics import interval_half
from localllm.core.generation import BenchSample, BenchTest
from localllm.core.metered.readings import Z_95, Energy, Unmeasured

LEAST_WINDOW_S = 10.0
LEAST_PERIODS = 50
"""A window is long enough at 10 s and at 50 periods of its sensor: then its two edges, each off by
up to a period, make an error of about 0.8 % (0.41 of a period over the window)."""

MOST_PAUSE_S = 0.005
"""Clearing the memory between two repetitions is shorter; computing a depth anew is longer."""

EnergyBetween = Callable[[float, float], Energy | Unmeasured]
"""``Session.energy_between``: two moments of ``time.monotonic`` to what was taken between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Repetitions back to back."""

    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Energy of some repetitions of one test."""

    n_tokens: int
    parts: tuple[Energy, ...]

    @property
    def joules(self) -> float:
        """Of all parts."""
        return math.fsum(part.joules for part in self.parts)

    @property
    def sigma_j(self) -> float:
        """Standard error: edges of different stretches err independently."""
        return math.hypot(*(part.sigma_j for part in self.parts))

    @property
    def seconds(self) -> float:
        """Length of all parts."""
        return math.fsum(part.seconds for part in self.parts)

    @property
    def j_per_token(self) -> float:
        """Joules for each token of the test, prompt or generated."""
        return self.joules / self.n_tokens

    @property
    def rough(self) -> bool:
        """Whether the meter had too few new values in any part."""
        return any(part.rough for part in self.parts)

    @property
    def too_short(self) -> bool:
        """Whether the window is shorter than the rule for a figure that can be compared."""
        return self.seconds < least_window_s(self.parts[0].window_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchEnergy:
    """What a test took."""

    windows: tuple[Window, ...]

    @property
    def joules(self) -> float:
        """Of all windows."""
        return math.fsum(window.joules for window in self.windows)

    @property
    def watts(self) -> float:
        """Mean power while the test ran."""
        return self.joules / math.fsum(window.seconds for window in self.windows)

    @property
    def samples(self) -> tuple[float, ...]:
        """Joules per token of each window."""
        return tuple(window.j_per_token for window in self.windows)

    @property
    def j_per_token(self) -> float:
        """Mean over the windows."""
        return statistics.fmean(self.samples)

    @property
    def stat(self) -> float:
        """Half of the 95 % interval of ``j_per_token``, the sensor's gain apart."""
        half = interval_half(self.samples)
        if half is not None:
            return half
        (only,) = self.windows
        return Z_95 * only.sigma_j / only.n_tokens

    @property
    def gain(self) -> float:
        """Systematic relative error of the sensors."""
        return max(part.gain for window in self.windows for part in window.parts)

    @property
    def rough(self) -> bool:
        """Whether the figure says little more than its size: printed with ``~``."""
        return any(window.rough or window.too_short for window in self.windows)

    @property
    def whole(self) -> Energy:
        """All windows as one without the pauses between them, from when the first began."""
        parts = [part for window in self.windows for part in window.parts]
        seconds = math.fsum(part.seconds for part in parts)
        return replace(
            parts[0],
            joules=self.joules,
            sigma_j=math.hypot(*(part.sigma_j for part in parts)),
            ended_s=parts[0].began_s + seconds,
            missing=tuple(dict.fromkeys(lost for part in parts for lost in part.missing)),
            gain=self.gain,
            rough=self.rough,
        )

    @property
    def net_j_per_token(self) -> float | None:
        """Without what idling would have taken; None where that is unknown, or all of it."""
        whole = self.whole
        if whole.net_joules is None or whole.net_is_noise:
            return None
        return whole.net_joules / self.n_tokens

    @property
    def n_tokens(self) -> int:
        """Tokens of all windows."""
        return sum(window.n_tokens for window in self.windows)


def least_window_s(period_s: float) -> float:
    """Return how long a window must be for a sensor of this period or averaging window."""
    return max(LEAST_WINDOW_S, LEAST_PERIODS * period_s)


def stretches(samples: Sequence[BenchSample]) -> Iterator[Stretch]:
    """Yield repetitions that follow each other without a pause, joined."""
    began_s = ended_s = 0.0
    for number, sample in enumerate(samples):
        if number == 0 or not 0 <= sample.began_s - ended_s <= MOST_PAUSE_S:
            if number:
                yield Stretch(began_s=began_s, ended_s=ended_s)
            began_s = sample.began_s
        ended_s = sample.began_s + sample.ns / 1e9
    if samples:
        yield Stretch(began_s=began_s, ended_s=ended_s)


def window_of(
    test: BenchTest, samples: Sequence[BenchSample], energy_between: EnergyBetween
) -> Window | Unmeasured:
    """Return the energy of some repetitions, or why a part of it is not known."""
    if any(sample.began_s <= 0 for sample in samples):
        return Unmeasured(reason="the engine did not say when its repetitions began")
    parts: list[Energy] = []
    for stretch in stretches(samples):
        energy = energy_between(stretch.began_s, stretch.ended_s)
        if isinstance(energy, Unmeasured):
            return energy
        parts.append(energy)
    if not parts:
        return Unmeasured(reason="nothing was repeated")
    return Window(n_tokens=len(samples) * (test.n_prompt + test.n_gen), parts=tuple(parts))


def windows_of(
    test: BenchTest,
    samples: Sequence[BenchSample],
    energy_between: EnergyBetween,
    *,
    per_window: int | None = None,
) -> tuple[Window, ...] | Unmeasured:
    """Return windows of ``per_window`` repetitions each.

    Without a number: one for each repetition where each is long enough by itself, else one for all.
    """
    if per_window is None:
        each = windows_of(test, samples, energy_between, per_window=1)
        if not isinstance(each, Unmeasured) and not any(w.rough or w.too_short for w in each):
            return each
        per_window = max(len(samples), 1)
    found: list[Window] = []
    for start in range(0, len(samples), per_window):
        window = window_of(test, samples[start : start + per_window], energy_between)
        if isinstance(window, Unmeasured):
            return window
        found.append(window)
    return tuple(found) or Unmeasured(reason="nothing was repeated")
