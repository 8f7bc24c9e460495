"""What a run says of itself while it goes on."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from localllm.benching.countdown import Countdown
from localllm.benching.gathered import Gathered
from localllm.core.bench.activity import OnProgress, Progress, Repeating, Step, Where
from localllm.core.generation import BenchSample

RECENT = 20
"""Repetitions that the speed meanwhile is the mean of."""

TOLD_EVERY_S = 0.05
"""Short repetitions are told of no more often."""


class Teller:
    """Puts together where the run is, what it does, and how long it still takes."""

    def __init__(
        self,
        on_progress: OnProgress | None,
        *,
        gathered: Sequence[Gathered],
        countdown: Countdown,
        clock: Callable[[], float],
    ) -> None:
        """Take who hears it, if anybody does, and all tests in their order."""
        self._on_progress = on_progress
        self._gathered, self._countdown = gathered, countdown
        self._clock = clock
        self._next_told_s = 0.0

    def tell(self, progress: Progress) -> None:
        """Tell it as it is."""
        if self._on_progress is not None:
            self._on_progress(progress)

    def step(self, step: Step, gathered: Gathered | None = None, *, timed: bool = True) -> None:
        """Tell of a step of a test; ``timed``: and how long everything still takes."""
        where = None if gathered is None else self._where(gathered)
        left_s = self._countdown.left_s() if timed else None
        self.tell(Progress(step=step, where=where, left_s=left_s))

    def sample(self, gathered: Gathered, sample: BenchSample, n_samples: int) -> None:
        """Tell of a repetition, unless another was told of a moment ago."""
        now_s = self._clock()
        if self._on_progress is None or now_s < self._next_told_s:
            return
        self._next_told_s = now_s + TOLD_EVERY_S
        n_tokens = gathered.test.n_prompt + gathered.test.n_gen
        recent = [1e9 * n_tokens / one.ns for one in gathered.samples[-RECENT:]]
        step = Repeating(
            repetition=sample.repetition,
            n_repetitions=n_samples,
            tok_s=statistics.fmean(recent) if recent else None,
        )
        left_s = self._countdown.left_s(sample.repetition / n_samples)
        self.tell(Progress(step=step, where=self._where(gathered), left_s=left_s))

    def _where(self, gathered: Gathered) -> Where:
        return Where(
            number=next(i for i, one in enumerate(self._gathered, 1) if one is gathered),
            n_tests=len(self._gathered),
            test=gathered.test,
            settings=gathered.planned.label,
        )
