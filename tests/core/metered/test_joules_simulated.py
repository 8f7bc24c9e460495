"""Over hundreds of simulated windows the true energy lies in the stated interval, and it is narrow.

Simulated power is known exactly (``tests/support/power_truth.py``); the meters have their own
phase, jitter, quantisation, averaging and blind times.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from localllm.core.generation import Timeline
from localllm.core.joules import answer_energy, energy
from localllm.core.metered.averages import Curve, unshown_j
from localllm.core.metered.counters import edge_sigma_j
from localllm.core.metered.readings import Z_95, Energy, Source, Unmeasured
from localllm.core.metered.stretches import looks
from localllm.core.metered.ticks import narrowed
from tests.support.power_truth import Truth, noise, square, steps, traced

IDLE_W, LOAD_W = 60.0, 300.0
END_S = 20.0

NVML = Source(
    name="NVML energy counter", scope="GPU board", kind="counter", device="nvidia0", period_s=0.1
)
RAPL = replace(NVML, name="RAPL", scope="CPU package", period_s=0.001)
INSTANT = replace(NVML, name="NVML power", kind="instant")
AVERAGE = replace(INSTANT, kind="average", window_s=1.0)


def part_time(source: Source) -> Source:
    """The same on an A100 or H100."""
    return replace(source, duty=0.25)


PowerCurve = Callable[[random.Random, float, float], Truth]


def load(rng: random.Random, began_s: float, ended_s: float) -> Truth:
    """Idle, load, idle; the device follows its orders a few milliseconds late."""
    return steps(
        [
            (0, IDLE_W),
            (began_s + rng.uniform(0, 0.02), LOAD_W),
            (ended_s + rng.uniform(0, 0.02), IDLE_W),
        ],
        END_S,
    )


def decode_after_prefill(rng: random.Random, began_s: float, ended_s: float) -> Truth:
    return steps(
        [(0, IDLE_W), (began_s - rng.uniform(0.2, 2), 350), (began_s, 220), (ended_s, IDLE_W)],
        END_S,
    )


def ramp(_: random.Random, began_s: float, ended_s: float) -> Truth:
    return Truth(
        [(0, IDLE_W), (began_s, IDLE_W), (ended_s, 350), (ended_s + 0.5, IDLE_W), (END_S, IDLE_W)]
    )


def slow_square(rng: random.Random, _began_s: float, _ended_s: float) -> Truth:
    return square(rng, IDLE_W, LOAD_W, rng.uniform(0.3, 1.5), END_S)


def fast_square(rng: random.Random, _began_s: float, _ended_s: float) -> Truth:
    return square(rng, IDLE_W, LOAD_W, rng.uniform(0.02, 0.08), END_S)


def tokens(rng: random.Random, began_s: float, ended_s: float) -> Truth:
    """Decode: high while the weights stream, low between, no token as long as the other."""
    levels, t = [(0.0, IDLE_W)], began_s
    while t < ended_s:
        token_s = rng.uniform(0.015, 0.06)
        levels += [(t, 280.0), (t + 0.7 * token_s, 150.0)]
        t += token_s
    return steps([*levels, (t, IDLE_W)], END_S)


def restless(rng: random.Random, _began_s: float, _ended_s: float) -> Truth:
    return noise(rng, 250, 60, 0.04, END_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A meter, what it looks at, and how narrow its interval must be (median, gain apart)."""

    source: Source
    curve: PowerCurve
    seconds: float = 5.0
    every_s: float = 0.05
    after_s: float = 9.0
    """How long the meter is read on, at most."""
    uneven_s: float = 0.0
    """By how much its ticks come off their pace."""
    halfwidth: float


CASES = {
    "counter, load": Case(source=NVML, curve=load, halfwidth=0.01),
    "counter, load, asked for at once": Case(source=NVML, curve=load, after_s=0, halfwidth=0.03),
    "counter, uneven ticks": Case(source=NVML, curve=load, uneven_s=0.02, halfwidth=0.015),
    "counter, ramp": Case(source=NVML, curve=ramp, halfwidth=0.02),
    "counter, square waves": Case(source=NVML, curve=slow_square, halfwidth=0.03),
    "counter, fast square waves": Case(source=NVML, curve=fast_square, halfwidth=0.02),
    "counter, noise, read slowly": Case(source=NVML, curve=restless, every_s=0.11, halfwidth=0.03),
    "counter, half a second": Case(source=NVML, curve=load, seconds=0.5, halfwidth=0.08),
    "RAPL, tokens": Case(source=RAPL, curve=tokens, every_s=0.1, halfwidth=0.005),
    "RAPL, fast square waves": Case(source=RAPL, curve=fast_square, every_s=0.1, halfwidth=0.03),
    "average, load": Case(source=AVERAGE, curve=load, halfwidth=0.015),
    "average, after a prefill": Case(source=AVERAGE, curve=decode_after_prefill, halfwidth=0.02),
    "average, a prefill": Case(source=AVERAGE, curve=load, seconds=0.5, halfwidth=0.15),
    "average, asked for at once": Case(source=AVERAGE, curve=load, after_s=0, halfwidth=0.015),
    "average, square waves": Case(source=AVERAGE, curve=slow_square, halfwidth=0.15),
    "instant, load": Case(source=INSTANT, curve=load, halfwidth=0.04),
    "instant, noise": Case(source=INSTANT, curve=restless, halfwidth=0.08),
    "part-time counter, tokens": Case(source=part_time(NVML), curve=tokens, halfwidth=0.05),
    "part-time instant, tokens": Case(source=part_time(INSTANT), curve=tokens, halfwidth=0.05),
    "part-time instant, square waves": Case(
        source=part_time(INSTANT), curve=slow_square, halfwidth=0.2
    ),
    "part-time average, tokens": Case(source=part_time(AVERAGE), curve=tokens, halfwidth=0.04),
}


def window(rng: random.Random, seconds: float) -> tuple[float, float]:
    began_s = 4 + rng.random()
    return began_s, began_s + seconds * rng.uniform(0.9, 1.1)


@pytest.mark.parametrize("name", CASES)
def test_the_true_energy_lies_in_the_interval_in_95_percent_of_200_runs(name: str) -> None:
    case = CASES[name]
    held = held_without_gain = 0
    halfwidths = []
    around_s = 1 + 1.5 * case.source.window_s
    for seed in range(200):
        rng = random.Random(f"{name} {seed}")
        began_s, ended_s = window(rng, case.seconds)
        truth = case.curve(rng, began_s, ended_s)
        gain = rng.uniform(-case.source.gain, case.source.gain)
        trace = traced(
            truth,
            case.source,
            rng,
            every_s=case.every_s,
            began_s=began_s - around_s,
            ended_s=ended_s + min(around_s, case.after_s),
            gain=gain,
            uneven_s=case.uneven_s,
        )
        found = energy(trace, began_s, ended_s)
        assert isinstance(found, Energy)
        true_j = truth.joules(ended_s) - truth.joules(began_s)
        held += found.low_j <= true_j <= found.high_j
        error_j = found.joules - true_j * (1 + gain)
        held_without_gain += abs(error_j) <= Z_95 * found.sigma_j
        halfwidths.append(Z_95 * found.sigma_j / true_j)

    assert held >= 0.95 * 200
    assert held_without_gain >= 0.93 * 200  # 95 % less the chance of 200 draws
    assert statistics.median(halfwidths) < case.halfwidth


def test_the_error_of_unaligned_edges_is_as_stated_and_alignment_lowers_it() -> None:
    period_s, watts = 0.1, 300.0
    truth = steps([(0, watts)], END_S)
    naive, aligned = [], []
    for seed in range(400):
        rng = random.Random(seed)
        began_s, ended_s = window(rng, 1.0)
        trace = traced(truth, NVML, rng, every_s=0.01, began_s=began_s - 0.3, ended_s=ended_s + 0.3)
        before = [r.joules for r in trace.readings if r.t_s <= began_s][-1]
        until = [r.joules for r in trace.readings if r.t_s <= ended_s][-1]
        found = energy(trace, began_s, ended_s)
        assert isinstance(found, Energy) and before is not None and until is not None
        true_j = watts * (ended_s - began_s)
        naive.append(until - before - true_j)
        aligned.append(found.joules - true_j)

    stated_j = edge_sigma_j(period_s, watts)
    assert stated_j == pytest.approx(0.41 * period_s * watts, rel=0.01)
    assert statistics.pstdev(naive) == pytest.approx(stated_j, rel=0.1)
    assert statistics.pstdev(aligned) < 0.2 * stated_j


def ticks_off(uneven_s: float) -> tuple[float, float, float]:
    """By how many seconds ticks are off as seen and as narrowed (RMS), and how many are held."""
    seen, known, held = [], [], 0
    for seed in range(50):
        rng = random.Random(seed)
        even = steps([(0, 100)], END_S)
        trace = traced(even, NVML, rng, every_s=0.05, began_s=4, ended_s=7, uneven_s=uneven_s)
        found = looks(NVML, trace.readings)
        for before, after in zip(found, narrowed(NVML, found, (5.0, 5.5)), strict=True):
            if 4.7 <= before.t_s <= 5.8 and before.spread_s < NVML.period_s:
                true_s = (before.value - 1000) / 100  # at 100 W the joules tell the time
                seen.append((before.t_s - true_s) ** 2)
                known.append((after.t_s - true_s) ** 2)
                held += abs(after.t_s - true_s) <= Z_95 * after.sigma_s
    return statistics.mean(seen) ** 0.5, statistics.mean(known) ** 0.5, held / len(seen)


def test_ticks_at_an_even_pace_are_known_better_than_they_were_seen() -> None:
    seen_s, known_s, held = ticks_off(uneven_s=0)

    assert seen_s == pytest.approx(0.055 / 12**0.5, rel=0.1)  # uniform between two readings
    assert known_s < seen_s / 2
    assert held > 0.95


def test_ticks_that_keep_no_pace_are_left_as_they_were_seen() -> None:
    seen_s, known_s, held = ticks_off(uneven_s=0.03)

    assert known_s < 1.1 * seen_s
    assert held > 0.9


def test_a_step_through_a_one_second_average_loses_120_joules_and_they_are_put_back() -> None:
    truth = steps([(0, 60), (5, 300), (15, 60)], 30)
    trace = traced(truth, AVERAGE, random.Random(1), every_s=0.02, began_s=2, ended_s=18)

    naive_j = Curve(looks(AVERAGE, trace.readings)).area_j(5, 15)
    found = energy(trace, 5, 15)

    # Half a second of 300 W less 60 W, of the 3,000 J that were spent.
    assert unshown_j(300 - 60, 1.0) == pytest.approx(120)
    assert 3000 - naive_j == pytest.approx(120, rel=0.03)
    assert isinstance(found, Energy)
    assert found.joules == pytest.approx(3000, rel=0.003)
    assert found.low_j <= 3000 <= found.high_j


@pytest.mark.parametrize(
    ("source", "every_s"),
    [(NVML, 0.005), (RAPL, 0.05), (INSTANT, 0.05), (AVERAGE, 0.05)],
    ids=lambda value: value.kind if isinstance(value, Source) else None,
)
def test_half_a_second_at_60_watts_is_30_joules(source: Source, every_s: float) -> None:
    trace = traced(
        steps([(0, 60)], END_S), source, random.Random(2), every_s=every_s, began_s=1, ended_s=8
    )

    found = energy(trace, 4.0, 4.5)

    assert isinstance(found, Energy)
    assert found.joules == pytest.approx(30.0, rel=0.01)
    assert found.mean_w == pytest.approx(60.0, rel=0.01)


@pytest.mark.parametrize("source", [NVML, RAPL, AVERAGE], ids=lambda source: source.name)
def test_prefill_and_decode_add_up_to_the_total_within_their_errors(source: Source) -> None:
    held = 0
    for seed in range(60):
        rng = random.Random(f"{source.name} {seed}")
        timeline = Timeline(
            prompt_began_s=5.0 + rng.random(),
            prompt_ended_s=7.5,
            first_token_s=7.501,
            last_token_s=12.0 + rng.random(),
        )
        truth = steps(
            [(0, 60), (timeline.prompt_began_s, 350), (7.5, 220), (timeline.last_token_s, 60)],
            END_S,
        )
        trace = traced(truth, source, rng, every_s=0.05, began_s=2, ended_s=16)
        answer = answer_energy([trace], timeline)
        parts = (answer.prefill, answer.decode, answer.total)
        prefill, decode, total = (part for part in parts if not isinstance(part, Unmeasured))
        room_j = Z_95 * (prefill.sigma_j**2 + decode.sigma_j**2 + total.sigma_j**2) ** 0.5
        held += abs(prefill.joules + decode.joules - total.joules) <= room_j
        assert prefill.mean_w == pytest.approx(350, rel=0.05)
        assert decode.mean_w == pytest.approx(220, rel=0.05)

    assert held >= 0.95 * 60
