"""Meters of NVIDIA GPUs: the real ``nvidia-ml-py`` over the fake driver, on a clock of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.core.joules import energy
from localllm.core.readings import Energy, Source, Trace, Unmeasured
from localllm.power.meter import Meter, MeterLost, Opened
from localllm.power.nvml import averages
from localllm.system.nvml import REASONS, nvml_session
from tests.support.fake_nvml import FakeDriver, Scenario, a100_with_mig, build, rtx_3090, rtx_4090
from tests.support.fake_nvml.held import Bench, close
from tests.support.fake_nvml.plant import Plant
from tests.support.trees import pci_files, plant

PCI_4090 = "0000:c1:00.0"
PCI_3090 = "0000:21:00.0"
PCI_A100 = "0000:07:00.0"

ENERGY = "code.nvmlDeviceGetTotalEnergyConsumption"
USAGE = "code.nvmlDeviceGetPowerUsage"
NO_COUNTER = {ENERGY: 3, "code.field.83": 3}
NO_INSTANT = {**NO_COUNTER, "code.field.186": 3}
ONLY_USAGE = {**NO_COUNTER, "code.nvmlDeviceGetFieldValues": 13}
NO_GPU_SCOPE = {**NO_COUNTER, "code.field.186.0": 3, "code.field.185.0": 3, USAGE: 3}


def only_meter(opened: Opened) -> Meter:
    (meter,) = opened.meters
    return meter


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


# ---------------------------------------------------------------------------- which GPU


def test_gpus_are_found_by_their_address_and_nobody_elses_is_touched(nvml: Bench) -> None:
    third = rtx_3090(bus_id="00000000:81:00.0", uuid="GPU-3")
    nvml.machine(rtx_3090(), third, rtx_4090())
    for index, watts in enumerate((30.0, 40.0, 60.0)):
        nvml.plant.gpus[index].sensor(start_j=0.0)
        nvml.plant.gpus[index].power(watts, at_s=990.0)

    opened = nvml.open("00000000:C1:00.0", PCI_3090, "0000:21:00.0-v1")

    names = [(meter.source.device, meter.source.pci_id) for meter in opened.meters]
    assert names == [("nvidia2", PCI_4090), ("nvidia0", PCI_3090)]
    readings = [meter.read() for meter in opened.meters]
    assert [reading and reading.joules for reading in readings] == [600.0, 300.0]
    assert len(opened.watchers) == 2
    assert nvml.plant.gpus[1].calls == 0
    close(opened)


def test_nothing_wanted_asleep_or_somebody_elses_is_not_even_a_call_to_init(nvml: Bench) -> None:
    plant(nvml.root, pci_files(PCI_4090, status="suspended"))
    plant(nvml.root, pci_files("0000:03:00.0", vendor=0x1002))
    nvml.machine(rtx_4090())

    nothing = nvml.open()
    others = nvml.open("0000:03:00.0", "nonsense")
    asleep = nvml.open(PCI_4090)

    assert (nothing, others) == (Opened(), Opened())
    (missing,) = asleep.missing
    assert (missing.device, missing.reason) == (
        PCI_4090,
        "the GPU sleeps; reading it would wake it",
    )
    assert (asleep.meters, asleep.watchers) == ((), ())
    assert nvml.driver.calls() == []


def test_a_gpu_awake_is_metered_while_another_sleeps(nvml: Bench) -> None:
    plant(nvml.root, pci_files(PCI_4090, status="active"))
    plant(nvml.root, pci_files(PCI_3090, status="suspended"))
    nvml.machine(rtx_4090(), rtx_3090())
    nvml.plant.gpus[0].power(60.0, at_s=990.0)

    opened = nvml.open(PCI_3090, PCI_4090)

    assert only_meter(opened).source.pci_id == PCI_4090
    assert [missing.device for missing in opened.missing] == [PCI_3090]
    assert nvml.plant.gpus[1].calls == 0
    close(opened)


def test_nvml_is_opened_once_and_closed_with_the_last(nvml: Bench) -> None:
    nvml.machine(rtx_4090(), rtx_3090())
    nvml.plant.gpus[0].power(60.0, at_s=990.0)
    nvml.plant.gpus[1].power(60.0, at_s=990.0)

    opened = nvml.open(PCI_4090, PCI_3090)
    for _ in range(2):  # closing twice is closing once
        opened.meters[0].close()
        opened.meters[1].close()
        opened.watchers[0].close()

    assert nvml.n_open == 1
    assert opened.watchers[1].health() is not None
    opened.watchers[1].close()
    assert nvml.n_open == 0
    assert nvml.driver.calls().count("nvmlInitWithFlags") == 1


# ---------------------------------------------------------------------------- what fails


@pytest.mark.parametrize("code", [9, 12, 18])
def test_without_nvml_each_gpu_is_missing_with_the_reason(nvml: Bench, code: int) -> None:
    nvml.machine(rtx_4090(), **{"code.nvmlInitWithFlags": code})

    opened = nvml.open(PCI_4090, PCI_3090)

    assert [(m.scope, m.device, m.reason) for m in opened.missing] == [
        ("GPU board", PCI_4090, REASONS[code]),
        ("GPU board", PCI_3090, REASONS[code]),
    ]
    assert (opened.meters, opened.watchers) == ((), ())


@pytest.mark.parametrize(
    ("changes", "reason", "watched"),
    [
        ({"code.all": 15}, REASONS[15], False),
        ({"code.all": 16}, REASONS[16], False),
        ({ENERGY: 15}, REASONS[15], False),
        ({**NO_GPU_SCOPE}, f"the GPU tells no power: {REASONS[3]}", True),
        ({**NO_GPU_SCOPE, ENERGY: 4}, f"the GPU tells no power: {REASONS[4]}", True),
        ({"bus_id": "00000000:99:00.0"}, "the NVIDIA driver does not know this GPU", False),
    ],
)
def test_a_gpu_without_a_meter_says_why(
    nvml: Bench, changes: dict[str, str | int], reason: str, watched: bool
) -> None:
    nvml.machine(rtx_4090(**changes))
    nvml.plant.gpus[0].power(60.0, at_s=990.0)

    opened = nvml.open(PCI_4090)

    (missing,) = opened.missing
    assert (missing.scope, missing.reason) == ("GPU board", reason)
    assert opened.meters == ()
    assert len(opened.watchers) == watched
    close(opened)


@pytest.mark.parametrize("code", [3, 4, 13])
def test_a_value_that_goes_away_is_none_for_as_long(nvml: Bench, code: int) -> None:
    nvml.machine(rtx_4090())
    nvml.plant.gpus[0].power(60.0, at_s=990.0)
    opened = nvml.open(PCI_4090)
    meter = only_meter(opened)

    nvml.machine(rtx_4090(**{ENERGY: code}))
    assert [meter.read() for _ in range(5)] == [None] * 5
    nvml.machine(rtx_4090())
    assert meter.read() is not None
    close(opened)


@pytest.mark.parametrize("code", [17, 999])
def test_an_error_is_passed_over_and_the_third_in_a_row_ends_the_meter(
    nvml: Bench, code: int
) -> None:
    nvml.machine(rtx_4090())
    nvml.plant.gpus[0].power(60.0, at_s=990.0)
    opened = nvml.open(PCI_4090)
    meter = only_meter(opened)
    broken = rtx_4090(**{ENERGY: code})

    nvml.machine(broken)
    assert [meter.read(), meter.read()] == [None, None]
    nvml.machine(rtx_4090())
    assert meter.read() is not None
    nvml.machine(broken)
    assert [meter.read(), meter.read()] == [None, None]
    with pytest.raises(MeterLost, match="3 times in a row"):
        meter.read()
    close(opened)


@pytest.mark.parametrize("code", [15, 16])
def test_a_gpu_lost_in_mid_run_ends_its_own_readings_only(nvml: Bench, code: int) -> None:
    nvml.machine(rtx_4090(), rtx_3090())
    nvml.plant.gpus[0].power(60.0, at_s=990.0)
    nvml.plant.gpus[1].power(30.0, at_s=990.0)
    opened = nvml.open(PCI_4090, PCI_3090)
    lost, other = opened.meters
    first = other.read()

    nvml.machine(rtx_4090(**{"code.all": code}), rtx_3090())
    with pytest.raises(MeterLost) as caught:
        lost.read()
    calls = nvml.plant.gpus[0].calls
    with pytest.raises(MeterLost):
        lost.read()
    nvml.plant.advance(1.0)
    second = other.read()

    assert caught.value.reason == REASONS[code]
    assert nvml.plant.gpus[0].calls == calls  # nobody asks it again
    assert opened.watchers[0].health() is None
    assert opened.watchers[1].health() is not None
    assert first is not None and first.joules is not None
    assert second is not None and second.joules == pytest.approx(first.joules + 30.0)
    close(opened)


@pytest.mark.parametrize("value", [0, 0xFFFFFFFF])
def test_a_board_that_claims_no_power_has_told_nothing(nvml: Bench, value: int) -> None:
    nvml.machine(rtx_4090(**ONLY_USAGE, power_mw=60_000))
    opened = nvml.open(PCI_4090)
    meter = only_meter(opened)

    nvml.machine(rtx_4090(**ONLY_USAGE, power_mw=value))

    assert meter.read() is None
    close(opened)


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
