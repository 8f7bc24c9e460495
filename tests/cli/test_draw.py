"""Bars fill their width, and sums add up as printed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.cli import draw
from localllm.cli.draw import bar
from localllm.core.plan import DeviceMemory
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.units import GiB, MiB
from tests.support.specs import gpu, llama_3_8b, llama_3_70b, machine


def test_a_bar_is_as_wide_as_asked_whatever_its_parts() -> None:
    for width in (1, 7, 40, 111):
        for used in (0, 1, 333, 999, 1000, 5000):
            parts = [(draw.MODEL, used), (draw.SPARE, max(1000 - used, 0))]
            assert len(bar(parts, total=1000, width=width)) == width


def test_parts_are_in_proportion() -> None:
    parts = [(draw.IN_USE, 25), (draw.MODEL, 50), (draw.SPARE, 25)]
    assert bar(parts, total=100, width=8).plain == "╱╱████··"
    assert bar(parts, total=100, width=8, unicode=False).plain == "//####.."


def test_a_small_part_is_seen() -> None:
    parts = [(draw.MODEL, 500), (draw.COMPUTE, 1), (draw.SPARE, 499)]
    assert bar(parts, total=1000, width=10).plain == "█████▒····"


def test_more_than_the_total_fills_the_bar() -> None:
    assert bar([(draw.MODEL, 300), (draw.CONTEXT, 50)], total=100, width=5).plain == "█████"


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
    figures = draw.MemorySum.of(row(free=10 * MiB - 1, model=1, context=MiB, compute=MiB + 1))
    assert (figures.free, figures.model, figures.context, figures.compute) == (9, 1, 1, 2)
    assert figures.spare == 9 - 1 - 1 - 2


@pytest.mark.parametrize("n_ctx", [512, 8192, 65536])
def test_every_printed_row_adds_up(n_ctx: int) -> None:
    for model in (llama_3_8b(), llama_3_70b()):
        unified = machine(replace(gpu(), unified=True))
        for hardware in (machine(), machine(gpu()), machine(gpu(), gpu("CUDA1")), unified):
            for device in make_plan(model, hardware, Policy(n_ctx=n_ctx)).devices:
                s = draw.MemorySum.of(device)
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
    assert draw.MemorySum.of(unknown).spare is None
