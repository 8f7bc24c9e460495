"""A whole run: configurations loaded in turn, tests measured, rows handed on as they are finished.

Whatever ends it, what was measured is kept: a test that was interrupted counts with the repetitions
that it had, if they are two or more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from localllm.benching.answers import Answers, measure_answers
from localllm.benching.countdown import Countdown, pieces_of
from localllm.benching.gathered import Gathered, Missed, on_cpu
from localllm.benching.loaded import Loader, Running, checked
from localllm.benching.planned import Planned
from localllm.benching.rules import Rules
from localllm.benching.stopping import Stop, Stopped
from localllm.benching.telling import Teller
from localllm.core.bench.activity import CoolingDown, OnProgress, Trying, WarmingUp
from localllm.core.bench.conditions import conditions, is_warm
from localllm.core.bench.cpu_use import cpu_use, more_disturbed
from localllm.core.bench.energy import windows_of
from localllm.core.bench.progress import work_kind
from localllm.core.bench.row import Beside, bench_row, chat_row
from localllm.core.generation import BenchDone, BenchSample, BenchTest
from localllm.core.metered.readings import Unmeasured
from localllm.errors import DoesNotFitError
from localllm.session import cpu_seconds
from localllm.units import format_duration

ENOUGH = 2
"""Repetitions of an interrupted test from which something can be said."""

OnRow = Callable[[dict[str, Any], Running, Planned], None]


class Run:
    """Measures everything once."""

    def __init__(
        self,
        *,
        planned: Sequence[Planned],
        tests: Sequence[BenchTest],
        rules: Rules,
        loader: Loader,
        on_row: OnRow,
        on_note: Callable[[str], None],
        on_progress: OnProgress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what is to be measured, and who hears of rows, and of what has none."""
        self._rules, self._loader = rules, loader
        self._on_row, self._on_note = on_row, on_note
        self._clock = clock
        self._stop = Stop()
        self._stopped = False
        self._gathered = [
            [Gathered(planned=one, test=test) for test in tests]
            for one in planned
            if one.error is None
        ]
        self.missed = [
            Missed(label=one.label, error=one.error) for one in planned if one.error is not None
        ]
        self.watts: list[tuple[float, float]] = []
        """Moments and watts of everything that was measured."""
        self._dropped: set[int] = set()
        plans = [tests[0].planned.plan for tests in self._gathered]
        self._countdown = Countdown(pieces_of(plans, tests, rules), clock=clock)
        self._teller = Teller(
            on_progress,
            gathered=[one for tests in self._gathered for one in tests],
            countdown=self._countdown,
            clock=clock,
        )

    @property
    def stopped(self) -> bool:
        """Whether it ended early because somebody asked."""
        return self._stopped

    def stop(self) -> None:
        """Ask ``run`` to end soon, as if it had come to its end; safe from any thread."""
        self._stop.ask(self._loader.cancel)

    def run(self) -> None:
        """Measure. Raises what ends it, after everything finished has been handed on."""
        for missed in self.missed:
            self._on_note(missed.text)
        passes = self._rules.passes
        try:
            for order, n_wanted in passes:
                for index in self._turns(order):
                    if index not in self._dropped:
                        last = (order, n_wanted) == passes[-1]
                        self._configuration(index, n_wanted, last=last)
        except Stopped:
            self._stopped = True
        finally:
            self._stop.ended()
            self._keep_interrupted()

    def _turns(self, order: str) -> Sequence[int]:
        numbers = range(len(self._gathered))
        return numbers if order == "forward" else numbers[::-1]

    def _configuration(self, index: int, n_wanted: int, *, last: bool) -> None:
        """Load one configuration and run its tests, as often as this pass wants."""
        planned = self._gathered[index][0].planned
        self._countdown.begin()
        try:
            running = self._loader.load(planned, on_progress=self._teller.tell, stop=self._stop)
        except DoesNotFitError as error:
            self._dropped.add(index)
            self._countdown.drop(index)
            self.missed.append(Missed(label=planned.label, error=error))
            self._on_note(self.missed[-1].text)
            return
        self._countdown.end(index, "load")
        began_s = self._clock()
        try:
            if self._rules.mode == "steady":
                self._countdown.begin()
                self._warm_up(running, self._gathered[index][0].test)
                self._countdown.end(index, "warm-up")
            for gathered in self._gathered[index]:
                self._countdown.begin()
                self._cool_down(gathered)
                self._test(gathered, running, n_wanted)
                self._countdown.end(index, work_kind(gathered.test))
                if last:
                    self._keep(gathered)
            if last and self._rules.chat_answers:
                self._countdown.begin()
                self._answers(running, planned)
                self._countdown.end(index, "chat")
        finally:
            self.watts += running.power_trace(began_s, self._clock())

    # -- one test ------------------------------------------------------------------------------

    def _test(self, gathered: Gathered, running: Running, n_wanted: int) -> None:
        gathered.running = running
        gathered.started = gathered.started or _now()
        n_samples = n_wanted
        if self._rules.mode == "steady":
            if gathered.per_window is None:
                gathered.per_window = self._repetitions_in_window(gathered, running)
            n_samples *= gathered.per_window
        first, began_s = len(gathered.samples), self._clock()
        before = cpu_seconds()
        try:
            for event in self._events(gathered.test, n_samples, running):
                if isinstance(event, BenchDone):
                    gathered.peak_rss_bytes = event.peak_rss_bytes
                else:
                    self._take(gathered, event, n_samples)
        finally:
            gathered.looks += running.health_since(began_s)
        gathered.cpu = more_disturbed(gathered.cpu, cpu_use(before, cpu_seconds()))
        found = windows_of(
            gathered.test,
            gathered.samples[first:],
            running.energy_between,
            per_window=gathered.per_window,
        )
        if isinstance(found, Unmeasured):
            gathered.unmeasured = found
        else:
            gathered.windows += found

    def _take(self, gathered: Gathered, sample: BenchSample, n_samples: int) -> None:
        if sample.repetition > 0:
            gathered.samples.append(sample)
        self._teller.sample(gathered, sample, n_samples)

    def _events(
        self, test: BenchTest, n_samples: int, running: Running
    ) -> Iterator[BenchSample | BenchDone]:
        """Yield the samples of one test, and its end."""
        running.check_still_loaded()
        events = running.session.bench((replace(test, repetitions=n_samples),))
        for event in checked(events, self._stop):
            if isinstance(event, BenchSample | BenchDone):
                yield event

    def _repetitions_in_window(self, gathered: Gathered, running: Running) -> int:
        """Try one repetition, and return how many of them fill a window."""
        self._teller.step(Trying(), gathered, timed=False)
        samples = [
            event
            for event in self._events(gathered.test, 1, running)
            if isinstance(event, BenchSample)
        ]
        trial_s = samples[-1].ns / 1e9
        began_s = samples[-1].began_s
        energy = running.energy_between(began_s, began_s + trial_s)
        period_s = 0.0 if isinstance(energy, Unmeasured) else energy.window_s
        return self._rules.per_window(trial_s, period_s)

    def _warm_up(self, running: Running, test: BenchTest) -> None:
        """Work until the temperature has settled; where none is told, as long as that takes."""
        began_s = self._clock()
        while True:
            worked_s = self._clock() - began_s
            self._teller.step(WarmingUp(worked_s=worked_s))
            for _ in self._events(test, 2, running):
                pass
            looks = running.health_since(began_s)
            warm = is_warm(looks, now_s=self._clock())
            limit_s = self._rules.warm_most_s if warm is not None else self._rules.warm_s
            if warm or worked_s >= limit_s:
                break
        if warm is False:
            self._on_note(f"The temperature had not settled after {format_duration(worked_s)}.")

    def _cool_down(self, gathered: Gathered) -> None:
        until_s = self._clock() + self._rules.delay_s
        while (left_s := until_s - self._clock()) > 0:
            self._teller.step(CoolingDown(pause_left_s=left_s), gathered)
            self._stop.pause(min(left_s, 0.2))
            self._stop.check()

    def _answers(self, running: Running, planned: Planned) -> None:
        started, answers, began_s = _now(), Answers(), self._clock()
        before = cpu_seconds()
        try:
            measure_answers(
                answers, running, self._rules, on_progress=self._teller.tell, stop=self._stop
            )
        finally:
            if answers.measured:
                seen = conditions(
                    running.health_since(began_s),
                    cpu=cpu_use(before, cpu_seconds()),
                    on_cpu=on_cpu(planned.plan),
                )
                row = chat_row(
                    running.setup,
                    n_prompt=answers.n_prompt,
                    n_gen=answers.n_gen,
                    answers=answers.measured,
                    test_time=started,
                    beside=Beside(energy=answers.energy, conditions=seen),
                )
                self._on_row(row, running, planned)
        if not answers.measured:
            self._on_note("The sampled rate is not known: every answer ended at once.")

    # -- what is finished ----------------------------------------------------------------------

    def _keep(self, gathered: Gathered) -> None:
        assert gathered.running is not None  # it has samples, of a model that was loaded
        gathered.kept = True
        n_asked = self._rules.repetitions * (gathered.per_window or 1)
        samples = [sample.ns for sample in gathered.samples]
        row = bench_row(
            gathered.running.setup,
            replace(gathered.test, repetitions=n_asked),
            samples,
            test_time=gathered.started,
            beside=gathered.beside,
        )
        if not gathered.beside.conditions.faults:  # a busy processor is what estimates live with
            energy = gathered.beside.energy
            gathered.running.session.measuring.keep_bench(
                gathered.test,
                samples,
                energy=energy if isinstance(energy, Unmeasured) else energy.whole,
                energy_tokens=None if isinstance(energy, Unmeasured) else energy.n_tokens,
                health=gathered.looks,
            )
        self._on_row(row, gathered.running, gathered.planned)

    def _keep_interrupted(self) -> None:
        for tests in self._gathered:
            for gathered in tests:
                if not gathered.kept and len(gathered.samples) >= ENOUGH:
                    self._keep(gathered)


def _now() -> str:
    """RFC 3339 in UTC, as llama-bench writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
