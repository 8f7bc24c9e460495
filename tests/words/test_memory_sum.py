"""Sums add up as printed, and bars give every part its share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.plan import DeviceMemory
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.units import GiB, MiB
from localllm.words.memory_sum import MemorySum, borders, parts_of
from tests.support.specs import gpu, llama_3_8b, llama_3_70b, machine


def row(**bytes_of: int) -> DeviceMemory:
    values = (
        dict.fromkeys(("free", "model", "context", "compute", "overhead", "headroom"), 0) | bytes_of
    )
    return DeviceMemory(
        name="CUDA0",
        kind="gpu",
        total_bytes=24 * GiB,
        **{f"{name}_bytes": value for name, value in values.items()},
    )


def test_needs_are_rounded_up_and_free_memory_down() -> None:
    figures = MemorySum.of(row(free=10 * MiB - 1, model=1, context=MiB, compute=MiB + 1))
    assert (figures.free, figures.model, figures.context, figures.compute) == (9, 1, 1, 2)
    assert figures.spare == 9 - 1 - 1 - 2


@pytest.mark.parametrize("n_ctx", [512, 65536])
def test_every_printed_row_adds_up(n_ctx: int) -> None:
    for model in (llama_3_8b(), llama_3_70b()):
        unified = machine(replace(gpu(), unified=True))
        for hardware in (machine(), machine(gpu()), machine(gpu(), gpu("CUDA1")), unified):
            for device in make_plan(model, hardware, Policy(n_ctx=n_ctx)).devices:
                s = MemorySum.of(device)
                assert s.free is not None
                assert s.spare is not None
                needed = s.model + s.context + s.compute + s.overhead + s.shared
                assert needed + s.headroom + s.spare == s.free
                assert s.spare * MiB <= (device.spare_bytes or 0)


def test_unknown_free_memory_has_no_spare() -> None:
    unknown = DeviceMemory(
        name="CUDA0",
        kind="gpu",
        total_bytes=None,
        free_bytes=None,
        model_bytes=MiB,
        context_bytes=0,
        compute_bytes=0,
        overhead_bytes=0,
        headroom_bytes=0,
    )
    assert MemorySum.of(unknown).spare is None


def test_parts_of_a_device_add_up_to_its_total() -> None:
    for hardware in (machine(), machine(gpu()), machine(replace(gpu(), unified=True))):
        for device in make_plan(llama_3_8b(), hardware, Policy()).devices:
            assert sum(size for _, size in parts_of(device)) == device.total_bytes


def test_what_does_not_fit_is_drawn_beyond_the_total() -> None:
    host = make_plan(llama_3_70b(), machine(ram=16 * GiB), Policy()).host
    assert host.total_bytes is not None
    beyond = sum(size for _, size in parts_of(host)) - host.total_bytes
    assert beyond == -(host.spare_bytes or 0) > 0


@pytest.mark.parametrize("least", [1, 4, 8])
def test_every_part_is_given_its_least(least: int) -> None:
    ends = borders([500, 1, 0, 1, 498], total=1000, width=80, least=least)
    assert ends == sorted(ends)
    assert ends[1] - ends[0] >= least
    assert ends[2] == ends[1]
    assert ends[3] - ends[2] >= least
    assert ends[-1] == 80


def test_large_parts_make_room_for_small_ones_behind_them() -> None:
    sizes = [990, 0, 5, 3, 2]
    assert borders(sizes, total=1000, width=10) == [10, 10, 10, 10, 10]
    assert borders(sizes, total=1000, width=10, all_seen=True) == [7, 7, 8, 9, 10]
    assert borders(sizes, total=1000, width=2, all_seen=True) == [0, 0, 0, 1, 2]


def test_borders_of_nothing() -> None:
    assert borders([0, 0], total=0, width=10) == [0, 0]
    assert borders([5, 5], total=4, width=10) == [10, 10]
