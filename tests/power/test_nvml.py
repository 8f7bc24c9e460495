"""Meters of NVIDIA GPUs: the real ``nvidia-ml-py`` over the fake driver, on a clock of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.core.joules import energy
from localllm.core.metered.readings import Energy, Source, Trace, Unmeasured
from localllm.power.meter import Meter
from localllm.power.nvml import averages
from localllm.system.nvml import REASONS, nvml_session
from tests.support.fake_nvml import FakeDriver, Scenario, a100_with_mig, build, rtx_4090
from tests.support.fake_nvml.held import (
    ENERGY,
    NO_COUNTER,
    NO_GPU_SCOPE,
    NO_INSTANT,
    ONLY_USAGE,
    PCI_4090,
    PCI_A100,
    Bench,
    close,
    only_meter,
)
from tests.support.fake_nvml.plant import Plant


def record(meter: Meter, plant: Plant, seconds: float, every_s: float = 0.05) -> Trace:
    """Read a meter for a while, moving the clock."""
    readings = []
    for _ in range(round(seconds / every_s)):
        reading = meter.read()
        if reading is not None:
            readings.append(reading)
        plant.advance(every_s)
    return Trace(source=meter.source, readings=tuple(readings))


# ---------------------------------------------------------------------------- what is read


def test_half_a_second_at_60_w_is_30_j(nvml: Bench) -> None:
    nvml.machine(rtx_4090())
    nvml.plant.gpus[0].power(60.0, at_s=990.0)
    opened = nvml.open(PCI_4090)

    trace = record(only_meter(opened), nvml.plant, 2.0)
    found = energy(trace, 1000.7, 1001.2)

    assert isinstance(found, Energy)
    assert found.joules == pytest.approx(30.0, rel=0.01)
    assert (found.scope, found.kinds) == ("GPU board", ("counter",))
    close(opened)


def test_a_counter_never_goes_down_after_a_change_of_power(nvml: Bench) -> None:
    nvml.machine(rtx_4090())
    supply = nvml.plant.gpus[0]
    supply.power(300.0, at_s=990.0)
    opened = nvml.open(PCI_4090)
    meter = only_meter(opened)

    high = record(meter, nvml.plant, 2.0)
    supply.power(25.0)
    low = record(meter, nvml.plant, 2.0)

    joules = [reading.joules or 0.0 for reading in high.readings + low.readings]
    assert joules == sorted(joules)
    # 2 s at 300 W, then 1.9 s at 25 W up to the last tick
    assert joules[-1] - joules[0] == pytest.approx(2.0 * 300 + 1.9 * 25)
    close(opened)


def test_a_counter_that_starts_anew_is_seen_and_no_energy_is_made_of_it(nvml: Bench) -> None:
    nvml.machine(rtx_4090())
    nvml.plant.gpus[0].power(60.0, at_s=990.0)
    opened = nvml.open(PCI_4090)
    meter = only_meter(opened)

    before = record(meter, nvml.plant, 1.0)
    nvml.plant.gpus[0].reset()
    after = record(meter, nvml.plant, 1.0)

    trace = Trace(source=meter.source, readings=before.readings + after.readings)
    assert after.readings[0].joules == 0.0
    assert isinstance(energy(trace, 1000.5, 1001.5), Unmeasured)
    assert isinstance(energy(trace, 1001.2, 1001.8), Energy)
    close(opened)


def test_a_reading_is_of_the_middle_of_a_slow_call(nvml: Bench) -> None:
    nvml.machine(rtx_4090(delay_us=200_000))
    nvml.plant.gpus[0].power(60.0, at_s=990.0)
    opened = nvml.open(PCI_4090)
    began_s = nvml.plant.clock()

    reading = only_meter(opened).read()

    assert reading is not None
    assert reading.t_s == pytest.approx(began_s + 0.1)
    assert nvml.plant.clock() == pytest.approx(began_s + 0.2)
    close(opened)


# ---------------------------------------------------------------------------- which source


def brief(source: Source) -> tuple[str, str, str, float, float]:
    return source.name, source.scope, source.kind, source.window_s, source.duty


@pytest.mark.parametrize(
    ("changes", "capability", "expected", "watts"),
    [
        ({}, "8.9", ("NVML energy counter", "GPU board", "counter", 0.0, 1.0), None),
        ({ENERGY: 3}, "8.9", ("NVML energy counter", "GPU board", "counter", 0.0, 1.0), None),
        ({ENERGY: 13}, "9.0", ("NVML energy counter", "GPU board", "counter", 0.0, 0.25), None),
        (NO_COUNTER, "8.9", ("NVML power", "GPU board", "instant", 0.0, 1.0), 200.0),
        (NO_COUNTER, "8.0", ("NVML power", "GPU board", "instant", 0.0, 0.25), 200.0),
        (NO_INSTANT, "8.9", ("NVML power", "GPU board", "average", 1.0, 1.0), 150.0),
        (ONLY_USAGE, "8.9", ("NVML power", "GPU board", "average", 1.0, 1.0), 150.0),
        (ONLY_USAGE, "9.0", ("NVML power", "GPU board", "average", 1.0, 0.25), 150.0),
        (ONLY_USAGE, "8.0", ("NVML power", "GPU board", "instant", 0.0, 0.25), 200.0),
        (ONLY_USAGE, "7.5", ("NVML power", "GPU board", "instant", 0.0, 1.0), 200.0),
        (
            {**NO_GPU_SCOPE, "module_extra_mw": 90_000},
            "9.0",
            ("NVML power", "whole chip", "instant", 0.0, 0.25),
            290.0,
        ),
        (
            {**NO_GPU_SCOPE, "module_extra_mw": 90_000, "code.field.186.1": 3},
            "9.0",
            ("NVML power", "whole chip", "average", 1.0, 0.25),
            240.0,
        ),
    ],
)
def test_the_best_source_that_answers_is_taken(
    nvml: Bench,
    changes: dict[str, int],
    capability: str,
    expected: tuple[str, str, str, float, float],
    watts: float | None,
) -> None:
    nvml.machine(rtx_4090(compute_capability=capability, **changes))
    nvml.plant.gpus[0].power(100.0, at_s=990.0)
    nvml.plant.gpus[0].power(200.0, at_s=999.5)  # half a second ago

    opened = nvml.open(PCI_4090)

    meter = only_meter(opened)
    assert brief(meter.source) == expected
    assert (meter.source.device, meter.source.pci_id) == ("nvidia0", PCI_4090)
    assert (meter.source.period_s, meter.source.gain) == (0.1, 0.05)
    reading = meter.read()
    assert reading is not None
    assert reading.watts == (None if watts is None else pytest.approx(watts))
    assert (reading.joules is None) == (watts is not None)
    note = meter.source.note
    assert note is None or (meter.source.scope == "whole chip" and "CPU" in note)
    close(opened)


def test_power_usage_is_an_average_on_ampere_and_newer_but_not_on_ga100() -> None:
    assert not averages((7, 5), None)
    assert not averages((8, 0), 7)
    assert averages((8, 6), None)
    assert averages((12, 0), None)
    assert [averages(None, architecture) for architecture in (6, 7, 9)] == [False, True, True]
    assert averages(None, None)


def test_a_mig_card_is_labelled_as_a_whole(nvml: Bench) -> None:
    nvml.machine(a100_with_mig())
    nvml.plant.gpus[0].power(250.0, at_s=990.0)

    opened = nvml.open(PCI_A100)

    source = only_meter(opened).source
    assert (source.device, source.note) == ("nvidia0", "a MIG slice: the whole card's power")
    assert source.duty == 0.25
    close(opened)


def test_an_old_driver_without_most_functions_still_gives_power(
    driver: FakeDriver, tmp_path: Path
) -> None:
    old = FakeDriver(
        library=build(tmp_path / "old", "-DOLD_DRIVER", "-DWITHOUT_MEMORY_V2"),
        folder=driver.folder,
    )
    gpu = rtx_4090(power_mw=61_500, event_reasons=4, processes="1:300")
    Scenario(gpus=(gpu,)).write(old.scenario_file)
    code = f"""
from localllm.power.nvml import open_nvml
from localllm.power.meter import Wanted
opened = open_nvml(Wanted(pci_ids=("{PCI_4090}",)))
(meter,), (watcher,) = opened.meters, opened.watchers
health = watcher.health()
print(meter.source.kind, meter.read().watts, health.throttle[0], health.other_pids)
print(health.used_bytes >> 20)
"""

    # version 1 of the memory query counts the 484 MiB that the driver keeps as used
    assert old.run(code).split("\n")[:2] == ["average 61.5 power cap (1,)", "488"]


def test_a_missing_function_that_the_binding_calls_a_mismatch_is_a_reason_too(nvml: Bench) -> None:
    nvml.machine(rtx_4090(**{"code.nvmlDeviceGetComputeRunningProcesses_v3": 13}))

    with nvml_session(nvml.root) as session:
        handle = session.api.nvmlDeviceGetHandleByIndex(0)
        answer = session.attempt(session.api.nvmlDeviceGetComputeRunningProcesses, handle)

    assert answer == (None, (13, REASONS[13]))


def test_the_plant_and_the_library_agree_on_what_was_drawn(nvml: Bench) -> None:
    nvml.machine(rtx_4090())
    supply = nvml.plant.gpus[0]
    supply.sensor(tau_s=0.001, start_j=0.0)
    supply.curve((10.0, 20.0, 20.0), (1.0, 50.0, 350.0), (0.5, 350.0, 50.0), at_s=990.0)
    opened = nvml.open(PCI_4090)
    meter = only_meter(opened)

    def read() -> float:
        reading = meter.read()
        assert reading is not None and reading.joules is not None
        return reading.joules

    before = read()
    nvml.plant.advance(2.0)

    # a mean of 200 W for 1.5 s, then half a second at 50 W
    assert supply.joules(1000.0, 1002.0) == pytest.approx(1.5 * 200 + 0.5 * 50)
    assert read() - before == pytest.approx(325.0)
    close(opened)
