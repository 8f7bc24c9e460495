"""The sampler: reads while something runs, rests for nothing, and no meter disturbs another.

Threads are met with events, not with sleeps: nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from localllm.core.metered.readings import Health, Kind, Reading, Source
from localllm.power.lane import drivers, intervals_s
from localllm.power.meter import MeterLost, Opened
from localllm.power.recording import MAX_READINGS, Recording
from localllm.power.sampler import Sampler

PATIENCE_S = 20.0
"""How long a test waits for what must happen; it never waits that long."""


def source(device: str = "test", *, kind: Kind = "counter", period_s: float = 0.1) -> Source:
    """The name tells drivers apart, and so threads; the device only meters."""
    name = "RAPL" if "package" in device else device
    return Source(name=name, scope="GPU board", kind=kind, device=device, period_s=period_s)


class Scripted:
    """A meter that does as told, and says when it was read."""

    def __init__(
        self,
        device: str = "test",
        *,
        read: Callable[[int], Reading | None] | None = None,
        kind: Kind = "counter",
    ) -> None:
        self.source = source(device, kind=kind)
        self.n_reads = 0
        self.closed_by: str | None = None
        self._read = read
        self._seen = threading.Condition()

    def read(self) -> Reading | None:
        with self._seen:
            self.n_reads += 1
            self._seen.notify_all()
        if self._read is not None:
            return self._read(self.n_reads)
        return Reading(t_s=time.monotonic(), joules=float(self.n_reads))

    def close(self) -> None:
        self.closed_by = threading.current_thread().name

    def wait_for_reads(self, n: int) -> None:
        with self._seen:
            assert self._seen.wait_for(lambda: self.n_reads >= n, PATIENCE_S)


@contextmanager
def sampling(*meters: Scripted, **clocks: Callable[[], float]) -> Iterator[Sampler]:
    with Sampler(Opened(meters=meters), **clocks) as sampler:
        sampler.start()
        yield sampler


def test_a_sampler_at_rest_reads_nothing_and_has_no_thread() -> None:
    meter = Scripted()
    before = threading.active_count()
    with Sampler(Opened(meters=(meter,))) as sampler:
        sampler.mark()
        assert sampler.settle()
        assert threading.active_count() == before
        assert sampler.traces()[0].readings == ()
    assert meter.n_reads == 0
    assert meter.closed_by is not None


def test_while_it_runs_every_meter_is_read_again_and_again() -> None:
    first, second = Scripted("first"), Scripted("second")
    with sampling(first, second) as sampler:
        first.wait_for_reads(3)
        second.wait_for_reads(3)
        assert sampler.settle(PATIENCE_S)
        traces = sampler.traces()
    assert [trace.source.device for trace in traces] == ["first", "second"]
    for trace in traces:
        assert [reading.joules for reading in trace.readings[:3]] == [1.0, 2.0, 3.0]
        assert trace.lost is None


def test_a_paused_sampler_makes_no_call_and_keeps_its_readings() -> None:
    meter = Scripted()
    with sampling(meter) as sampler:
        meter.wait_for_reads(2)
        sampler.pause()
        n = meter.n_reads
        sampler.mark()
        assert sampler.settle()
        time.sleep(0.2)  # four of this meter's turns; one look may have been under way
        assert n <= meter.n_reads <= n + 1
        assert len(sampler.traces()[0].readings) == meter.n_reads
        sampler.start()
        meter.wait_for_reads(n + 2)


def test_a_mark_is_a_reading_at_once() -> None:
    meter = Scripted()
    meter.source = source(period_s=1e9)  # its own turn is half a second away
    with sampling(meter) as sampler:
        meter.wait_for_reads(1)
        edge = time.monotonic()
        assert sampler.settle(PATIENCE_S)
        assert sampler.traces()[0].readings[-1].t_s >= edge


def test_a_reading_that_failed_leaves_a_gap_and_no_zero() -> None:
    meter = Scripted(read=lambda n: Reading(t_s=float(n), joules=7.0) if n % 2 else None)
    with sampling(meter) as sampler:
        meter.wait_for_reads(4)
        readings = sampler.traces()[0].readings
    assert [reading.t_s for reading in readings[:2]] == [1.0, 3.0]
    assert {reading.joules for reading in readings} == {7.0}


def test_a_lost_meter_ends_its_own_readings_only() -> None:
    def dies(n: int) -> Reading:
        if n == 3:
            raise MeterLost("the GPU is lost")
        return Reading(t_s=float(n), joules=1.0)

    lost, other = Scripted("lost", read=dies), Scripted("other")
    with sampling(lost, other) as sampler:
        lost.wait_for_reads(3)
        other.wait_for_reads(other.n_reads + 3)
        until(lambda: lost.closed_by is not None)
        first, second = sampler.traces()
        assert (first.lost, len(first.readings)) == ("the GPU is lost", 2)
        assert second.lost is None
        assert sampler.settle(PATIENCE_S)  # and nobody waits for the dead
    assert lost.n_reads == 3


@pytest.mark.filterwarnings("error")
def test_a_meter_with_a_bug_says_so_and_ends() -> None:
    def fails(_: int) -> Reading:
        raise ValueError("no number")

    meter = Scripted(read=fails)
    with sampling(meter) as sampler:
        until(lambda: sampler.traces()[0].lost is not None)
        assert sampler.traces()[0].lost == "the meter failed: ValueError: no number"


def test_a_driver_that_hangs_delays_neither_callers_nor_other_meters_nor_the_end() -> None:
    release = threading.Event()

    def hangs(_: int) -> None:
        release.wait(PATIENCE_S)

    slow, quick = Scripted("slow", read=hangs), Scripted("quick")
    try:
        with sampling(slow, quick) as sampler:
            slow.wait_for_reads(1)
            quick.wait_for_reads(5)
            assert len(sampler.traces()[1].readings) >= 4
            assert not sampler.settle(0.01)
            began = time.monotonic()
        assert time.monotonic() - began < PATIENCE_S / 2  # given up, not waited for
        assert quick.closed_by is not None
        assert slow.closed_by is None
    finally:
        release.set()
    until(lambda: slow.closed_by is not None)


def test_a_suspend_is_noted_for_every_meter() -> None:
    slept = 0.0
    meters = (Scripted("first"), Scripted("second"))
    with sampling(*meters, boottime=lambda: time.monotonic() + slept) as sampler:
        meters[0].wait_for_reads(2)
        assert sampler.traces()[0].slept_s == ()
        before = time.monotonic()
        slept = 60.0
        first, second = sampler.traces()
        after = time.monotonic()
        assert first.slept_s == second.slept_s
        earlier, found = first.slept_s
        # Both ends of the stretch in which it lies: no window over it passes for whole.
        assert earlier <= before <= found <= after
        meters[1].wait_for_reads(meters[1].n_reads + 2)
        assert sampler.traces()[0].slept_s == first.slept_s  # once


def test_a_suspend_at_rest_spoils_nothing_that_begins_later() -> None:
    slept = 0.0
    meter = Scripted()
    with sampling(meter, boottime=lambda: time.monotonic() + slept) as sampler:
        sampler.pause()
        slept = 3600.0
        sampler.start()
        began = time.monotonic()
        meter.wait_for_reads(meter.n_reads + 1)
        assert all(moment <= began for moment in sampler.traces()[0].slept_s)


class Told:
    """A watcher."""

    def __init__(self) -> None:
        self.n = 0

    def health(self) -> Health | None:
        self.n += 1
        return Health(t_s=float(self.n), device="nvidia0", temperature_c=61.0)

    def close(self) -> None:
        pass


def test_health_is_the_last_look_and_its_history() -> None:
    watcher = Told()
    with Sampler(Opened(watchers=(watcher,))) as sampler:
        assert sampler.health() == ()
        sampler.start()
        until(lambda: bool(sampler.health()))
        sampler.mark()
        until(lambda: watcher.n >= 2 and len(sampler.health_since(0.0)) >= 2)
        assert sampler.health()[0].temperature_c == 61.0
        assert sampler.health_since(2.0)[0].t_s == 2.0


def test_only_the_asked_part_of_the_memory_is_handed_out() -> None:
    kept = Recording(Scripted())
    for t in range(10):
        kept.keep(Reading(t_s=float(t), joules=float(t)))
    assert [r.t_s for r in kept.trace(7.5, ()).readings] == [7.0, 8.0, 9.0]
    assert [r.t_s for r in kept.trace(99.0, ()).readings] == [9.0]
    assert len(kept.trace(None, ()).readings) == 10


def test_the_memory_of_a_meter_is_bounded_and_keeps_the_latest() -> None:
    kept = Recording(Scripted(kind="instant"))
    for t in range(MAX_READINGS + 10):
        kept.keep(Reading(t_s=float(t), watts=5.0))
    readings = kept.trace(None, ()).readings
    assert len(readings) == MAX_READINGS // 2 + 10
    assert readings[-1].t_s == MAX_READINGS + 9
    assert (readings[0].watts, readings[0].joules) == (5.0, None)


@pytest.mark.parametrize(
    ("kind", "period_s", "near_an_edge_s", "far_from_one_s"),
    [
        ("counter", 0.001, 0.1, 0.4),  # RAPL: nobody can follow it
        ("counter", 0.1, 0.05, 0.4),  # NVML: twice a tick, then only for the display
        ("instant", 0.1, 0.05, 0.05),  # what is not seen is lost
        ("average", 0.1, 0.1, 0.1),
        ("instant", 1.0, 0.5, 0.5),  # a battery
        ("instant", 30.0, 0.5, 0.5),
    ],
)
def test_a_meter_is_read_as_often_as_it_gains_from(
    kind: Kind, period_s: float, near_an_edge_s: float, far_from_one_s: float
) -> None:
    found = intervals_s(source(kind=kind, period_s=period_s))
    assert found == pytest.approx((near_an_edge_s, far_from_one_s))


def test_meters_share_a_thread_only_with_their_own_driver() -> None:
    meters = [Scripted(name) for name in ("a", "b", "package 0", "package 0 memory")]
    meters[0].source = replace(meters[0].source, pci_id="0000:01:00.0")
    meters[1].source = replace(meters[1].source, pci_id="0000:02:00.0")
    groups = drivers([Recording(meter) for meter in meters])
    assert [[r.source.device for r in group] for group in groups] == [
        ["a"],
        ["b"],
        ["package 0", "package 0 memory"],
    ]


def until(holds: Callable[[], bool]) -> None:
    """Wait for what must come true."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.002)
