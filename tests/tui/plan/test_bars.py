"""Bars share a device's memory among its parts, and the figures below add up as printed."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from localllm.core.plan import DeviceMemory, Plan
from localllm.tui.plan.bars import bars_lines
from localllm.tui.plan.stacked import CACHED, MAPPED, refined, stacked
from localllm.units import GiB, MiB
from localllm.words.memory_sum import parts_of
from tests.tui.plan import plans

_FIGURE = re.compile(r"-?[\d,]+")


def drawn(plan: Plan, width: int, **how: bool) -> list[str]:
    return [line.plain.rstrip() for line in bars_lines(plan, width, **how)]


def bar(row: DeviceMemory, width: int, *, shades: bool = True) -> str:
    scale = row.total_bytes or 1
    pieces = stacked(row, "$primary", width, scale_bytes=scale, shades=shades)
    return "".join(text for text, _ in pieces)


def summed(line: str) -> list[int]:
    return [int(figure.replace(",", "")) for figure in _FIGURE.findall(line.split(" ", 1)[1])]


@pytest.mark.parametrize("width", [76, 96, 116, 160])
def test_printed_figures_add_up(width: int) -> None:
    for plan in plans.all_plans():
        lines = drawn(plan, width)
        head = next(i for i, line in enumerate(lines) if line.startswith("MiB"))
        below = head + (1 if "█" in lines[head] else 2)
        for row, line in zip(plan.devices, lines[below:], strict=False):
            *terms, free, in_use = summed(line)
            assert sum(terms) == free
            assert (row.free_bytes or 0) // MiB == free
            assert in_use == -(-((row.total_bytes or 0) - (row.free_bytes or 0)) // MiB)


def test_a_plan_in_part_on_a_card() -> None:
    assert drawn(plans.in_part(), 76)[2:] == [
        "MiB    model context compute overhead headroom  spare free now│in use",
        "           █       ▓       ▒        ░        ┈      ·               ╱",
        "CUDA0 21,380   1,344     316      472      512     56 = 24,080│   484",
        "RAM   19,164   1,216      41       94      256 38,621 = 59,392│ 6,144",
        "▤ of RAM's model column 18.7 GiB are the mapped file",
    ]


def test_where_no_table_fits_every_figure_has_its_name() -> None:
    text = " ".join(drawn(plans.in_part(), 40))
    assert "█ model 21,380" in text
    assert "= free now 24,080" in text


@pytest.mark.parametrize("width", [40, 56, 76, 116, 200])
def test_no_line_is_wider_than_asked(width: int) -> None:
    for plan in plans.all_plans():
        for one_scale in (False, True):
            for line in bars_lines(plan, width, one_scale=one_scale):
                assert line.cell_length <= width


@pytest.mark.parametrize("shades", [True, False])
def test_a_bar_is_as_wide_as_asked_and_shows_every_part(shades: bool) -> None:
    for plan in plans.all_plans():
        for row in plan.devices:
            for width in (24, 57, 100):
                text = bar(row, width, shades=shades)
                assert len(text) == width
                if (row.spare_bytes or 0) >= 0:
                    seen = {part.name for part, size in refined(row) if size}
                    assert seen <= {part.name for part, _ in refined(row) if part.glyph in text}


def test_borders_lie_within_cells() -> None:
    """18.3 of 24 GiB in 10 cells: seven, and five eighths of the eighth."""
    row = DeviceMemory(
        name="CUDA0",
        kind="gpu",
        total_bytes=24 * GiB,
        free_bytes=24 * GiB,
        model_bytes=int(18.3 * GiB),
        context_bytes=0,
        compute_bytes=0,
        overhead_bytes=0,
        headroom_bytes=0,
    )
    assert bar(row, 10) == "███████▋··"
    assert bar(replace(row, model_bytes=12 * GiB), 10) == "█████·····"


def test_what_does_not_fit_is_drawn_beyond_the_end() -> None:
    first, *_ = drawn(plans.too_large(), 76)
    end = first.index("┃")
    assert set(first[end + 1 :].split(" ")[0][:-1]) == {"\N{BOX DRAWINGS LIGHT DIAGONAL CROSS}"}
    assert first.endswith("» ✗ 30.7 GiB short")


def test_pages_of_the_file_are_told_apart() -> None:
    host = plans.on_cpu().host
    sizes = dict(refined(host))
    assert sizes[MAPPED] == host.mapped_bytes > 0
    assert sizes[CACHED] == host.cached_bytes > 0
    assert sum(sizes.values()) == sum(size for _, size in parts_of(host)) == host.total_bytes
    assert MAPPED.glyph in bar(host, 60)
    assert CACHED.glyph in bar(host, 60)


def test_bars_on_one_scale_are_as_long_as_their_devices() -> None:
    lengths = [
        len(line.split("GiB")[0].rstrip(" 0123456789.")) - len("CUDA0 ")
        for line in drawn(plans.in_part(), 116, one_scale=True)[:2]
    ]
    assert lengths[0] / lengths[1] == pytest.approx(24 / 64, abs=0.02)


def test_memory_that_was_not_read_is_said_to_be_unknown() -> None:
    plan = plans.in_part()
    gpu, host = plan.devices
    device = replace(plan.hardware.devices[0], unknown={"total_bytes": "NVML is silent"})
    unknown = replace(
        plan,
        devices=(replace(gpu, total_bytes=None, free_bytes=None), host),
        hardware=replace(plan.hardware, devices=(device,)),
    )
    lines = drawn(unknown, 76)
    assert lines[0] == "CUDA0 — NVML is silent"
    assert lines[4].split()[-4:] == ["?", "=", "?│", "?"]
