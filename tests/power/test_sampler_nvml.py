"""The sampler over the real NVML binding and the fake driver: idle, slow, and lost GPUs."""

from __future__ import annotations

import time
from collections.abc import Callable

from localllm.core.joules import energy, watts_now
from localllm.core.metered.readings import Energy
from localllm.power.sampler import Sampler
from tests.support.fake_nvml import rtx_3090, rtx_4090
from tests.support.fake_nvml.held import Bench

FIRST, SECOND = "0000:c1:00.0", "0000:21:00.0"
PATIENCE_S = 20.0


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


def test_at_rest_the_driver_is_not_called_at_all(nvml: Bench) -> None:
    nvml.machine(rtx_4090(energy_mj=5000))
    with Sampler(nvml.open(FIRST)) as sampler:
        opened = nvml.plant.calls
        sampler.mark()
        time.sleep(0.15)
        assert nvml.plant.calls == opened
        sampler.start()
        until(lambda: len(sampler.traces()[0].readings) >= 2 and bool(sampler.health()))
        sampler.pause()
    assert sampler.traces()[0].readings[0].joules == 5.0
    assert nvml.n_open == 0  # and closed with the sampler, so that a laptop's GPU may sleep


def test_the_energy_of_a_window_that_was_sampled_is_what_was_drawn(nvml: Bench) -> None:
    nvml.plant.go_to(0.0)  # the machine's own clock
    nvml.machine(rtx_4090())
    nvml.plant.gpus[0].power(60.0, at_s=time.monotonic() - 5)
    with Sampler(nvml.open(FIRST)) as sampler:
        sampler.start()
        until(lambda: len(sampler.traces()[0].readings) >= 2)
        began_s = time.monotonic()
        sampler.mark()
        until(lambda: watts_now(sampler.traces()[0], time.monotonic()) is not None)
        until(lambda: time.monotonic() >= began_s + 0.6)
        ended_s = time.monotonic()
        assert sampler.settle(PATIENCE_S)
        trace = sampler.traces(began_s)[0]
        now_w = watts_now(trace, time.monotonic())
    found = energy(trace, began_s, ended_s)
    assert isinstance(found, Energy)
    assert abs(found.joules - 60.0 * (ended_s - began_s)) < 4 * found.sigma_j
    assert found.sigma_j < 0.25 * found.joules
    assert now_w is not None
    assert abs(now_w - 60.0) < 15.0


def test_a_gpu_that_takes_its_time_holds_up_nobody(nvml: Bench) -> None:
    nvml.plant.go_to(0.0)  # the machine's own clock: calls really take their time
    nvml.machine(rtx_4090(energy_mj=5000, delay_us=80_000), rtx_3090(energy_mj=7000))
    with Sampler(nvml.open(FIRST, SECOND)) as sampler:
        sampler.start()

        def more_of_the_quick() -> int:
            slow, quick = (len(trace.readings) for trace in sampler.traces())
            return quick - slow

        until(lambda: more_of_the_quick() >= 3)
        assert sampler.traces()[0].lost is None
    until(lambda: nvml.n_open == 0)  # a call under way was not waited for; its thread lets go


def test_a_gpu_lost_in_mid_run_ends_with_its_reason_and_the_other_goes_on(nvml: Bench) -> None:
    nvml.machine(rtx_4090(energy_mj=5000), rtx_3090(energy_mj=7000))
    with Sampler(nvml.open(FIRST, SECOND)) as sampler:
        sampler.start()
        until(lambda: all(trace.readings for trace in sampler.traces()))
        nvml.machine(rtx_4090(**{"code.all": 15}), rtx_3090(energy_mj=7000))
        until(lambda: sampler.traces()[0].lost is not None)
        lost, other = sampler.traces()
        assert lost.lost == "the GPU is lost: reset it, or restart the machine"
        n = len(other.readings)
        until(lambda: len(sampler.traces()[1].readings) >= n + 3)
        assert sampler.traces()[1].lost is None
