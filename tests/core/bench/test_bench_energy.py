"""Joules per token of a test: windows, what is subtracted, and both errors."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from localllm.core.bench.conditions import conditions, is_warm
from localllm.core.bench.energy import BenchEnergy, stretches, windows_of
from localllm.core.generation import BenchSample, BenchTest
from localllm.core.metered.readings import Energy, Health, Unmeasured

TG100 = BenchTest(n_prompt=0, n_gen=100)


def repetitions(*spans: tuple[float, float]) -> list[BenchSample]:
    return [
        BenchSample(test=TG100, repetition=i, ns=round((end - start) * 1e9), began_s=start)
        for i, (start, end) in enumerate(spans, 1)
    ]


def constant(watts: float, *, idle_w: float | None = None) -> Energy:
    return Energy(
        joules=watts,
        sigma_j=0.041 * watts,
        gain=0.05,
        began_s=0.0,
        ended_s=1.0,
        scope="GPU board",
        sources=("NVML energy counter",),
        kinds=("counter",),
        window_s=0.1,
        idle_w=idle_w,
    )


class Meter:
    """Draws so many watts at all times, and notes which windows it was asked for."""

    def __init__(self, watts: float, *, idle_w: float | None = None) -> None:
        self._one = constant(watts, idle_w=idle_w)
        self.asked: list[tuple[float, float]] = []

    def __call__(self, began_s: float, ended_s: float) -> Energy:
        self.asked.append((began_s, ended_s))
        return replace(
            self._one,
            joules=self._one.joules * (ended_s - began_s),
            began_s=began_s,
            ended_s=ended_s,
        )


def measured(
    meter: Meter, samples: list[BenchSample], per_window: int | None = None
) -> BenchEnergy:
    found = windows_of(TG100, samples, meter, per_window=per_window)
    assert not isinstance(found, Unmeasured)
    return BenchEnergy(windows=found)


def test_repetitions_without_a_pause_are_one_stretch() -> None:
    joined = stretches(repetitions((1, 2), (2.0001, 3), (4, 5)))
    assert [(one.began_s, one.ended_s) for one in joined] == [(1, 3), (4, 5)]
    assert list(stretches([])) == []


def test_short_repetitions_share_one_window_that_is_called_rough() -> None:
    """3 s at 200 W for 300 tokens: 600 J, 2 J/token; 10 s would be long enough."""
    meter = Meter(200)
    energy = measured(meter, repetitions((1, 2), (2, 3), (3, 4)))
    assert (energy.joules, energy.j_per_token, energy.watts) == (600, 2.0, 200)
    assert energy.stat == pytest.approx(1.96 * 0.041 * 200 / 300)
    assert energy.rough
    assert meter.asked[-1] == (1, 4)


def test_long_repetitions_are_windows_of_their_own() -> None:
    energy = measured(Meter(200), repetitions((0.5, 11), (11, 21.5), (21.5, 32)))
    assert len(energy.windows) == 3
    assert not energy.rough
    assert energy.stat == pytest.approx(0, abs=1e-9)  # nothing scatters


def test_several_windows_give_a_t_interval() -> None:
    """1, 2 and 3 J/token: 2 ± 4.303 / sqrt(3)."""
    windows = [measured(Meter(10 * n), repetitions((1, 11))).windows[0] for n in (1, 2, 3)]
    energy = BenchEnergy(windows=tuple(windows))
    assert energy.samples == (1.0, 2.0, 3.0)
    assert energy.stat == pytest.approx(4.30265 / math.sqrt(3), rel=1e-4)


def test_a_pause_within_a_window_is_not_counted() -> None:
    meter = Meter(100)
    energy = measured(meter, repetitions((1, 7), (60, 66)), per_window=2)
    assert (energy.joules, energy.whole.seconds) == (1200, 12)
    assert len(energy.windows) == 1


def test_idling_is_subtracted_where_it_is_known() -> None:
    """12 s at 100 W less 40 W: 720 J for 200 tokens."""
    spans = repetitions((1, 7), (7, 13))
    assert measured(Meter(100), spans, 2).net_j_per_token is None
    assert measured(Meter(100, idle_w=40), spans, 2).net_j_per_token == pytest.approx(3.6)
    assert measured(Meter(100, idle_w=99.5), spans, 2).net_j_per_token is None  # noise


def test_what_is_unknown_in_a_part_is_unknown_in_the_whole() -> None:
    def lost(began_s: float, ended_s: float) -> Energy | Unmeasured:
        return Unmeasured(reason="the GPU is lost") if began_s > 5 else constant(1)

    found = windows_of(TG100, repetitions((1, 2), (9, 10)), lost, per_window=1)
    assert found == Unmeasured(reason="the GPU is lost")
    untimed = [replace(one, began_s=0.0) for one in repetitions((1, 2))]
    assert isinstance(windows_of(TG100, untimed, Meter(1)), Unmeasured)


def look(t_s: float, celsius: float | None, **changes: object) -> Health:
    return replace(Health(t_s=t_s, device="CUDA0", temperature_c=celsius), **changes)  # type: ignore[arg-type]


def test_it_is_warm_when_ten_seconds_change_less_than_a_degree() -> None:
    rising = [look(t, 40 + t) for t in range(20)]
    flat = [look(t, 60 + t / 100) for t in range(20)]
    assert is_warm(rising, now_s=19) is False
    assert is_warm(flat, now_s=19) is True
    assert is_warm(flat[-5:], now_s=19) is False  # nobody has looked for ten seconds yet
    assert is_warm([look(1, None)], now_s=19) is None


def test_a_power_cap_is_told_and_anything_else_makes_a_test_invalid() -> None:
    seen = conditions(
        [
            look(1, 60, clock_mhz=1000.0, throttle=("power cap",), used_bytes=10),
            look(2, 70, clock_mhz=2000.0, throttle=("power cap",), used_bytes=30),
        ]
    )
    assert (seen.temperature_c, seen.clock_mhz, seen.used_bytes) == (70, 1500, 30)
    assert (seen.throttle, seen.invalid) == (("power cap",), ())
    bad = conditions([look(1, 90, throttle=("thermal",), other_pids=(7,))])
    assert bad.invalid == (
        "another process (pid 7) computed on CUDA0",
        "clocks were held down: thermal",
    )
    assert conditions([]).temperature_c is None
