"""Health of NVIDIA GPUs, through the real ``nvidia-ml-py`` over the fake driver."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from localllm.core.metered.readings import Health
from localllm.power.nvml_health import NvmlWatcher, throttle
from localllm.units import MiB
from tests.support.fake_nvml import Values, rtx_4090
from tests.support.fake_nvml.held import Bench, close
from tests.support.trees import plant

PCI_4090 = "0000:c1:00.0"


def at_work(**changes: str | int | float) -> Values:
    return rtx_4090(
        **{
            "temperature_c": 71,
            "clock_mhz": 2520,
            "max_clock_mhz": 3105,
            "memory_clock_mhz": 10501,
            "event_reasons": 0x4,
            "utilisation_percent": 97,
            "used_mib": 9000,
            "processes": f"{os.getpid()}:8800",
            **changes,
        }
    )


def watcher_of(nvml: Bench) -> NvmlWatcher:
    opened = nvml.open(PCI_4090)
    for meter in opened.meters:
        meter.close()
    (watcher,) = opened.watchers
    assert isinstance(watcher, NvmlWatcher)
    return watcher


AT_WORK = Health(
    t_s=1000.0,
    device="nvidia0",
    temperature_c=71.0,
    clock_mhz=2520.0,
    clock_max_mhz=3105.0,
    memory_clock_mhz=10501.0,
    power_limit_w=450.0,
    throttle=("power cap",),
    other_pids=(),
    used_bytes=9000 * MiB,
    utilisation=0.97,
    pci_id=PCI_4090,
)


def test_everything_that_a_gpu_tells_is_told(nvml: Bench) -> None:
    nvml.machine(at_work())
    watcher = watcher_of(nvml)

    assert watcher.health() == AT_WORK
    watcher.close()


@pytest.mark.parametrize("code", [3, 4, 13, 17, 999])
@pytest.mark.parametrize(
    ("function", "without"),
    [
        ("nvmlDeviceGetTemperature", replace(AT_WORK, temperature_c=None)),
        ("nvmlDeviceGetClockInfo", replace(AT_WORK, clock_mhz=None, memory_clock_mhz=None)),
        ("nvmlDeviceGetMaxClockInfo", replace(AT_WORK, clock_max_mhz=None)),
        ("nvmlDeviceGetEnforcedPowerLimit", replace(AT_WORK, power_limit_w=None)),
        ("nvmlDeviceGetMemoryInfo_v2", replace(AT_WORK, used_bytes=None)),
        ("nvmlDeviceGetComputeRunningProcesses_v3", AT_WORK),
    ],
)
def test_a_value_that_is_not_there_takes_no_other_with_it(
    nvml: Bench, function: str, without: Health, code: int
) -> None:
    if (function, code) == ("nvmlDeviceGetMemoryInfo_v2", 13):
        # version 1 answers instead, and counts the 484 MiB that the driver keeps
        without = replace(AT_WORK, used_bytes=9484 * MiB)
    nvml.machine(at_work(**{f"code.{function}": code}))
    watcher = watcher_of(nvml)

    assert [watcher.health() for _ in range(3)] == [without] * 3
    watcher.close()


def test_a_query_that_fails_three_times_is_not_asked_again(nvml: Bench) -> None:
    nvml.machine(at_work(**{"code.nvmlDeviceGetTemperature": 3}))
    watcher = watcher_of(nvml)

    for _ in range(6):
        watcher.health()

    calls = nvml.driver.calls()
    assert calls.count("nvmlDeviceGetTemperature") == 3
    assert calls.count("nvmlDeviceGetMaxClockInfo") == 1  # it does not change
    assert calls.count("nvmlDeviceGetEnforcedPowerLimit") == 6  # somebody may change it
    watcher.close()


def test_drivers_before_535_tell_throttling_under_its_old_name(nvml: Bench) -> None:
    nvml.machine(at_work(**{"code.nvmlDeviceGetCurrentClocksEventReasons": 13}))
    watcher = watcher_of(nvml)

    assert [watcher.health(), watcher.health()] == [AT_WORK, AT_WORK]
    assert nvml.driver.calls().count("nvmlDeviceGetCurrentClocksEventReasons") == 1
    watcher.close()


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0x0, ()),
        (0x1, ()),  # idle
        (0x2, ()),  # clocks that somebody set
        (0x100, ()),
        (0x5, ("power cap",)),
        (0x8, ("hardware slowdown",)),
        (0x48, ("thermal",)),  # the hardware slows down because of heat
        (0x68, ("thermal",)),
        (0x88, ("power brake",)),
        (0x14, ("power cap", "sync boost")),
        (0x24, ("power cap", "thermal")),
        (0x600, ("board limit", "reliability")),
        (1 << 40, ()),  # of a later driver
    ],
)
def test_throttling_is_told_in_words(bits: int, words: tuple[str, ...]) -> None:
    assert throttle(bits) == words


def test_our_own_processes_are_nobody_else(nvml: Bench) -> None:
    own, child, other = os.getpid(), 70001, 70002
    nvml.machine(at_work(processes=f"{child}:8000 {other}:300 {own}:1"))
    watcher = watcher_of(nvml)

    first = watcher.health()
    watcher.own_pids = frozenset({child})
    second = watcher.health()

    assert first is not None and first.other_pids == (child, other)
    assert second is not None and second.other_pids == (other,)
    watcher.close()


def test_in_a_container_only_processes_that_can_be_seen_count(nvml: Bench) -> None:
    # The driver gives the host's numbers: one of them is our own engine.
    plant(nvml.root, {"/proc/70002/comm": "python"})
    nvml.machine(at_work(processes="70001:8000 70002:300"))
    watcher = watcher_of(nvml)
    watcher.own_pids = frozenset({42})

    health = watcher.health()

    assert health is not None and health.other_pids == (70002,)
    watcher.close()


def test_a_lost_gpu_has_no_health_and_gets_no_more_calls(nvml: Bench) -> None:
    nvml.machine(at_work())
    opened = nvml.open(PCI_4090)
    (watcher,) = opened.watchers
    nvml.machine(at_work(**{"code.nvmlDeviceGetClockInfo": 15}))

    assert watcher.health() is None
    calls = nvml.plant.gpus[0].calls
    assert watcher.health() is None
    assert nvml.plant.gpus[0].calls == calls
    close(opened)
