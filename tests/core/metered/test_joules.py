"""Which windows have an energy, which have none and why, and what the live display shows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm.core.generation import Timeline
from localllm.core.joules import (
    answer_energy,
    energy,
    energy_text,
    idle_power,
    per_token,
    per_token_text,
    together,
    watts_now,
    with_idle,
)
from localllm.core.metered.per_token import NO_IDLE, PerToken
from localllm.core.metered.readings import Energy, Idle, Kind, Reading, Source, Trace, Unmeasured

COUNTER = Source(
    name="NVML energy counter", scope="GPU board", kind="counter", device="nvidia0", period_s=0.1
)
INSTANT = replace(COUNTER, name="NVML power", kind="instant")
AVERAGE = replace(INSTANT, kind="average", window_s=1.0)
BATTERY = replace(INSTANT, name="battery", scope="whole laptop", device="BAT0", period_s=1.0)
SOURCES = (COUNTER, INSTANT, AVERAGE)


def of_kind(source: Source) -> str:
    return source.kind


def trace(
    source: Source,
    *,
    watts: float = 100.0,
    began_s: float = 0.0,
    ended_s: float = 10.0,
    every_s: float = 0.05,
    seen: Callable[[float], bool] = lambda _: True,
    **ending: object,
) -> Trace:
    """Even power, looked at where ``seen``."""
    readings = []
    for step in range(round((ended_s - began_s) / every_s) + 1):
        t = began_s + step * every_s
        if not seen(t):
            continue
        tick_s = math.floor(t / source.period_s + 1e-9) * source.period_s
        if source.kind == "counter":
            readings.append(Reading(t_s=t, joules=50.0 + watts * tick_s))
        else:
            readings.append(Reading(t_s=t, watts=watts))
    # mypy cannot see that the keywords are the dataclass's fields.
    return Trace(source=source, readings=tuple(readings), **ending)  # type: ignore[arg-type]


def reason(found: Energy | Unmeasured) -> str:
    assert isinstance(found, Unmeasured)
    return found.reason


@pytest.mark.parametrize("source", SOURCES, ids=of_kind)
def test_an_energy_says_what_was_measured_and_how(source: Source) -> None:
    found = energy(trace(source), 2.0, 8.0)

    assert isinstance(found, Energy)
    assert found.joules == pytest.approx(600, rel=0.002)
    assert found.low_j <= 600 <= found.high_j
    assert (found.scope, found.sources, found.kinds) == (
        "GPU board",
        (source.name,),
        (source.kind,),
    )
    assert found.meters == (source,)
    assert found.window_s == (1.0 if source.kind == "average" else 0.1)
    assert not found.rough


@pytest.mark.parametrize("source", SOURCES, ids=of_kind)
def test_fewer_than_ten_new_values_are_rough(source: Source) -> None:
    short, long = (energy(trace(source), 2.0, 2.0 + seconds) for seconds in (0.8, 1.2))

    assert isinstance(short, Energy) and short.rough
    assert isinstance(long, Energy) and not long.rough


@pytest.mark.parametrize("source", SOURCES, ids=of_kind)
def test_nothing_is_said_of_times_without_readings(source: Source) -> None:
    assert "silent for" in reason(energy(trace(source, ended_s=5), 2.0, 8.0))
    assert "silent for" in reason(energy(trace(source, began_s=4), 2.0, 8.0))
    assert "no reading" in reason(energy(trace(source), 20.0, 28.0))
    assert "no reading" in reason(energy(Trace(source=source, readings=()), 2.0, 8.0))


def test_a_hole_ends_a_sensors_window_but_a_counter_counts_through_it() -> None:
    def seen(t_s: float) -> bool:
        return not 4 < t_s < 6

    for source in (INSTANT, AVERAGE):
        assert "silent for 1.9" in reason(energy(trace(source, seen=seen), 2.0, 8.0))
    found = energy(trace(COUNTER, seen=seen), 2.0, 8.0)
    assert isinstance(found, Energy)
    assert found.joules == pytest.approx(600, rel=0.002)


@pytest.mark.parametrize("source", SOURCES, ids=of_kind)
def test_a_window_between_two_values_has_no_energy(source: Source) -> None:
    found = energy(trace(source, every_s=0.1), 2.16, 2.19)

    assert "no new value of NVML" in reason(found)
    assert "0.03 s" in reason(found)


def test_a_counter_that_stands_still_has_no_energy() -> None:
    readings = tuple(Reading(t_s=i / 20, joules=1234.5) for i in range(200))

    found = energy(Trace(source=COUNTER, readings=readings), 2.0, 8.0)

    assert "no new value" in reason(found)


@pytest.mark.parametrize("source", SOURCES, ids=of_kind)
def test_a_suspend_in_the_window_leaves_no_energy_and_one_outside_cuts_the_readings(
    source: Source,
) -> None:
    slept = trace(source, slept_s=(5.0,))

    assert "slept" in reason(energy(slept, 2.0, 8.0))
    assert isinstance(energy(slept, 5.5, 8.0), Energy)
    assert isinstance(energy(slept, 2.0, 4.9), Energy)


@pytest.mark.parametrize("source", SOURCES, ids=of_kind)
def test_a_meter_lost_in_the_window_says_why_and_one_lost_later_does_not_matter(
    source: Source,
) -> None:
    lost = trace(source, ended_s=6, lost="the GPU is lost")

    assert reason(energy(lost, 2.0, 8.0)) == "the GPU is lost"
    assert reason(energy(lost, 7.0, 8.0)) == "the GPU is lost"
    assert isinstance(energy(lost, 2.0, 5.5), Energy)


def test_a_counter_that_falls_discards_the_windows_over_it_only() -> None:
    whole = trace(COUNTER)
    readings = tuple(
        replace(r, joules=(r.joules or 0) - 400) if r.t_s >= 5 else r for r in whole.readings
    )
    reloaded = Trace(source=COUNTER, readings=readings)

    assert "fell" in reason(energy(reloaded, 2.0, 8.0))
    for began_s, ended_s in ((2.0, 4.5), (5.5, 8.0)):
        found = energy(reloaded, began_s, ended_s)
        assert isinstance(found, Energy)
        assert found.mean_w == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize("source", SOURCES, ids=of_kind)
def test_an_empty_window_has_no_energy(source: Source) -> None:
    for began_s, ended_s in ((5.0, 5.0), (6.0, 5.0), (math.nan, 5.0), (2.0, math.inf)):
        assert reason(energy(trace(source), began_s, ended_s)) == "the window is empty"


def test_a_value_read_again_is_one_reading() -> None:
    # New values every 100 ms, read every 10 ms: 60 of them in 6 s, whatever was read.
    def stairs(every_s: float) -> Trace:
        return Trace(
            source=INSTANT,
            readings=tuple(
                Reading(t_s=i * every_s, watts=100.0 + math.floor(i * every_s * 10 + 1e-9) % 7)
                for i in range(round(10 / every_s))
            ),
        )

    fast, slow = (energy(stairs(every_s), 2.0, 8.0) for every_s in (0.01, 0.1))

    assert isinstance(fast, Energy) and isinstance(slow, Energy)
    assert fast.joules == pytest.approx(slow.joules, rel=0.005)
    # Reading more often tells nothing of what happened between two values.
    assert fast.sigma_j == pytest.approx(slow.sigma_j, rel=0.1)
    few = energy(stairs(0.01), 2.0, 2.8)
    assert isinstance(few, Energy) and few.rough  # 8 values, though 80 readings


# ---------------------------------------------------------------------------- live


@pytest.mark.parametrize("source", [*SOURCES, BATTERY], ids=lambda source: source.name)
def test_the_power_of_now_is_shown_while_it_is_fresh(source: Source) -> None:
    now = trace(source, watts=42.0)

    assert watts_now(now, 10.1) == pytest.approx(42.0, rel=0.02)
    assert watts_now(now, 5.0) == pytest.approx(42.0, rel=0.02)
    assert watts_now(now, 20.0) is None
    assert watts_now(now, -1.0) is None
    assert watts_now(replace(now, lost="gone"), 10.1) is None
    assert watts_now(replace(now, lost="gone"), 5.0) == pytest.approx(42.0, rel=0.02)
    assert watts_now(replace(now, slept_s=(10.05,)), 10.1) is None
    assert watts_now(Trace(source=source, readings=()), 1.0) is None


def test_the_live_power_of_a_counter_forgets_what_was_before_it_fell() -> None:
    readings = tuple(
        Reading(t_s=i / 10, joules=100 * i / 10 + (5000 if i < 50 else 0)) for i in range(56)
    )
    reloaded = Trace(source=COUNTER, readings=readings)

    assert watts_now(reloaded, 5.5) == pytest.approx(100)
    assert watts_now(reloaded, 5.0) is None  # one tick makes no rate


def test_a_counter_that_stands_still_shows_no_power_rather_than_0_w() -> None:
    readings = tuple(Reading(t_s=i / 20, joules=1234.5) for i in range(200))

    assert watts_now(Trace(source=COUNTER, readings=readings), 9.9) is None


# ---------------------------------------------------------------------------- any trace

values = st.one_of(
    st.none(),
    st.sampled_from([0.0, -1.0, math.nan, math.inf, 5e-324, 1e308]),
    st.floats(0, 1e6),
)
gaps = st.one_of(st.just(0.0), st.just(1e-9), st.floats(0, 0.3), st.floats(0, 30))
kinds: st.SearchStrategy[Kind] = st.sampled_from(["counter", "average", "instant"])


@st.composite
def any_trace(draw: st.DrawFn) -> Trace:
    """Readings in order of time, and nothing else right about them."""
    source = replace(
        COUNTER,
        kind=draw(kinds),
        period_s=draw(st.sampled_from([0.001, 0.1, 1.0])),
        window_s=draw(st.sampled_from([0.0, 0.01, 1.0])),
        duty=draw(st.sampled_from([0.25, 1.0])),
    )
    t, readings = 0.0, []
    for gap_s, value in draw(st.lists(st.tuples(gaps, values), max_size=40)):
        t += gap_s
        readings.append(Reading(t_s=t, joules=value, watts=value))
    return Trace(
        source=source,
        readings=tuple(readings),
        lost=draw(st.sampled_from([None, None, "lost"])),
        slept_s=tuple(sorted(draw(st.lists(st.floats(0, 5), max_size=2)))),
    )


def assert_sound(found: Energy | Unmeasured) -> None:
    """Nothing negative, nothing infinite, and words for it."""
    if isinstance(found, Unmeasured):
        assert found.reason
        return
    assert math.isfinite(found.joules) and found.joules >= 0
    assert math.isfinite(found.sigma_j) and found.sigma_j >= 0
    assert 0 <= found.low_j <= found.joules <= found.high_j
    for net in (False, True):
        shared = per_token(found, 100, net=net)
        if isinstance(shared, PerToken):
            assert 0 <= shared.low <= shared.high
            assert "-" not in per_token_text(shared)
        assert "-" not in energy_text(found, net=net)


@settings(max_examples=200, deadline=None)
@given(any_trace(), st.floats(-1, 12), st.floats(0, 12), st.floats(0, 500))
def test_no_trace_whatever_gives_a_negative_energy_a_nan_or_an_exception(
    made: Trace, began_s: float, seconds: float, idle_w: float
) -> None:
    found = energy(made, began_s, began_s + seconds)
    assert_sound(found)
    if isinstance(found, Energy):
        idle = Idle(watts=idle_w, sigma_w=1.0, scope=found.scope)
        assert_sound(with_idle(found, idle))
        assert_sound(together([found, energy(made, began_s, began_s + seconds)]))
    now_w = watts_now(made, began_s)
    assert now_w is None or (math.isfinite(now_w) and now_w >= 0)
    drawn = idle_power(made, [(0.0, began_s), (began_s, began_s + seconds)])
    assert isinstance(drawn, Unmeasured) or (math.isfinite(drawn.watts) and drawn.watts >= 0)
    answer = answer_energy(
        [made],
        Timeline(
            prompt_began_s=began_s,
            prompt_ended_s=began_s + seconds / 4,
            first_token_s=began_s + seconds / 4,
            last_token_s=began_s + seconds,
        ),
    )
    for part in (answer.prefill, answer.decode, answer.total):
        assert_sound(part)


def test_a_net_energy_without_idle_is_said_not_to_be_known() -> None:
    found = energy(trace(COUNTER), 2.0, 8.0)

    assert isinstance(found, Energy)
    assert per_token(found, 10, net=True) == Unmeasured(reason=NO_IDLE)
    assert energy_text(found, net=True) == f"n/a ({NO_IDLE})"
