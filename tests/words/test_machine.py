"""A machine in a line or two."""

from __future__ import annotations

from dataclasses import replace

from localllm.core.metered.meters import Missing, SeenMeter, SeenMeters
from localllm.core.metered.readings import MeterScope, Source
from localllm.units import GiB
from localllm.words.machine import memory_parts, power_parts
from tests.support.specs import gpu, machine


def meter(name: str, scope: MeterScope) -> SeenMeter:
    return SeenMeter(
        source=Source(name=name, scope=scope, kind="instant", device="0", period_s=1.0)
    )


def test_gpus_of_a_kind_are_one_part() -> None:
    one = gpu(free=23 * GiB)
    card = replace(one, description="NVIDIA GeForce RTX 4090", total_bytes=24 * GiB)
    two = machine(card, replace(card, name="CUDA1"))
    cards, ram = memory_parts(two)
    assert cards == "2x NVIDIA GeForce RTX 4090: 23.0 GiB of 24.0 GiB free each"
    assert ram.startswith("RAM ") and ram.endswith(" available")
    other = replace(card, name="CUDA1", free_bytes=10 * GiB)
    assert len(list(memory_parts(machine(card, other)))) == 3


def test_a_card_that_cannot_be_used_says_so_and_none_is_none() -> None:
    hidden = replace(gpu(free=23 * GiB), visible=False)
    assert next(memory_parts(machine(hidden))).endswith(" free, hidden from llama.cpp")
    assert next(memory_parts(machine())).startswith("no GPU, ")


def test_power_says_what_feeds_it_and_what_measures_it() -> None:
    plugged = Missing(
        scope="whole laptop", device="BAT0", reason="the laptop runs on mains power (battery: Full)"
    )
    none = Missing(scope="CPU package", device="", reason="no permission to read RAPL")
    on_battery = SeenMeters(meters=(meter("battery", "whole laptop"),), missing=(none,))
    assert list(power_parts(on_battery)) == ["on battery", "power: whole laptop by battery"]
    board = SeenMeters(meters=(meter("NVML", "GPU board"),), missing=(plugged,))
    assert list(power_parts(board)) == [plugged.reason, "power: GPU board by NVML"]
    assert list(power_parts(SeenMeters(missing=(plugged, none)))) == [
        plugged.reason,
        "no power meter (CPU package: no permission to read RAPL)",
    ]
    assert list(power_parts(SeenMeters())) == ["no power meter"]
