"""Meters beside a run: what they say while it lasts, between runs, and where there are none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localllm.core.generation import Timeline
from localllm.core.metered.readings import Energy, Unmeasured
from localllm.metering import Meters
from tests.engine.support import cpu_plan
from tests.support.inside import counting
from tests.support.trees import Files, plant, rapl_files

LINUX: Files = {"/proc/cpuinfo": "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx2"}
COUNTER = "sys/class/powercap/intel-rapl:0/energy_uj"
WATTS = 60.0


@pytest.fixture
def processor(root: Path) -> Iterator[Path]:
    """A machine whose one processor takes 60 W all the time, by its own counter."""
    plant(root, LINUX | rapl_files(uj=10**9))
    with counting(root / COUNTER, WATTS):
        yield root


@pytest.fixture
def meters(root: Path) -> Iterator[Callable[[], Meters]]:
    made: list[Meters] = []

    def make() -> Meters:
        made.append(Meters(cpu_plan(), root=root))
        made[-1].open()
        return made[-1]

    yield make
    for each in made:
        each.close()


def until(holds: Callable[[], bool]) -> None:
    """Wait for what must happen; it never takes that long."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_answer_is_metered_live_and_afterwards_its_phases_apart(
    processor: Path, meters: Callable[[], Meters]
) -> None:
    here = meters()
    here.start()
    until(lambda: here.live().watts is not None)
    live = here.live()
    assert (live.scope, live.sources) == ("CPU package", ("RAPL",))
    assert live.watts == pytest.approx(WATTS, rel=0.3)
    began_s = time.monotonic()
    time.sleep(0.5)
    middle_s = time.monotonic()
    time.sleep(0.5)
    ended_s = time.monotonic()
    found = here.answer(
        Timeline(
            prompt_began_s=began_s,
            prompt_ended_s=middle_s,
            first_token_s=middle_s,
            last_token_s=ended_s,
        )
    )
    prefill, decode, total = found.prefill, found.decode, found.total
    assert isinstance(prefill, Energy) and isinstance(decode, Energy) and isinstance(total, Energy)
    assert (total.scope, total.sources) == ("CPU package", ("RAPL",))
    for part in (prefill, decode, total):
        true_j = WATTS * part.seconds
        assert abs(part.joules - true_j) < 2 * part.sigma_j + part.gain * true_j + 1e-9
    assert prefill.joules + decode.joules == pytest.approx(total.joules, rel=0.1)
    assert total.idle_w is None


def test_idling_before_a_run_is_known_and_taken_off(
    processor: Path, meters: Callable[[], Meters], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localllm.metering.SETTLING_S", 0.0)
    here = meters()
    here.start()
    here.rest()
    until(lambda: here.live().watts is not None)
    time.sleep(1.2)
    here.start()
    began_s = time.monotonic()
    time.sleep(0.4)
    found = here.energy_between(began_s, time.monotonic())
    assert isinstance(found, Energy)
    assert found.idle_w == pytest.approx(WATTS, rel=0.1)
    assert found.net_is_noise, "a processor that takes as much at rest has spent nothing on it"


def test_at_rest_nothing_is_read(processor: Path, meters: Callable[[], Meters]) -> None:
    here = meters()
    here.start()
    until(lambda: here.live().watts is not None)
    here.pause()
    time.sleep(0.15)
    (processor / COUNTER).unlink()  # whoever looked now would lose its meter
    paused_s = time.monotonic()
    time.sleep(0.4)
    assert here.live().missing != "the counter is gone"
    found = here.energy_between(paused_s, time.monotonic())
    assert isinstance(found, Unmeasured)


def test_without_a_meter_there_is_a_reason_and_no_figure(
    root: Path, meters: Callable[[], Meters]
) -> None:
    plant(root, {"/proc/cpuinfo": "vendor_id\t: GenuineIntel\nflags\t\t: fpu hypervisor"})
    here = meters()
    here.start()
    until(lambda: here.missing() != ())
    live = here.live()
    assert (live.watts, live.scope) == (None, None)
    assert live.missing is not None and "virtual machine" in live.missing
    assert (live.sources, live.fix) == ((), None), "nobody can mend that"
    found = here.energy_between(time.monotonic() - 1, time.monotonic())
    assert isinstance(found, Unmeasured) and "virtual machine" in found.reason
