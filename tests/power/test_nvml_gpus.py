"""Which NVIDIA GPUs are metered, and what happens when they or their driver fail."""

from __future__ import annotations

import pytest

from localllm.power.meter import MeterLost, Opened
from localllm.system.nvml import REASONS
from tests.support.fake_nvml import rtx_3090, rtx_4090
from tests.support.fake_nvml.held import (
    ENERGY,
    NO_GPU_SCOPE,
    ONLY_USAGE,
    PCI_3090,
    PCI_4090,
    Bench,
    close,
    only_meter,
)
from tests.support.trees import pci_files, plant

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
