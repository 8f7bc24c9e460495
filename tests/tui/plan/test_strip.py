"""The strip shows every layer once, where it lies, at any width."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from localllm.core.plan import Plan
from localllm.core.where import layer_places
from localllm.tui.plan.marks import marks
from localllm.tui.plan.strip import place_at, strip_lines
from localllm.tui.plan.tiles import tile_rows
from tests.tui.plan import plans


def drawn(plan: Plan, width: int) -> list[str]:
    return [line.plain.rstrip() for line in strip_lines(plan, width)]


@pytest.mark.parametrize("n_blocks", [1, 16, 33, 48, 61, 80, 126, 200])
def test_every_layer_has_one_tile_in_order(n_blocks: int) -> None:
    for width in range(8, 240, 3):
        rows = tile_rows(n_blocks, width)
        tiles = [tile for row in rows for tile in row.tiles]
        assert [i for tile in tiles for i in range(tile.first, tile.last + 1)] == list(
            range(n_blocks + 2)
        )
        assert len(rows) <= 3
        for row in rows:
            ends = 0
            for tile in row.tiles:
                assert tile.column >= ends
                ends = tile.column + tile.width
            assert ends <= width


def test_several_layers_share_a_cell_only_where_three_rows_are_too_few() -> None:
    """80 layers beside 7 cells for embedding, output and gaps: 27 a row is just enough."""
    assert all(tile.first == tile.last for row in tile_rows(80, 34) for tile in row.tiles)
    assert any(tile.first < tile.last for row in tile_rows(80, 33) for tile in row.tiles)


def test_numbers_above_the_tiles_do_not_touch() -> None:
    for n_blocks in (16, 48, 80, 126):
        for width in range(30, 200, 7):
            for row in tile_rows(n_blocks, width):
                ends = -1
                for column, text in row.labels:
                    assert column > ends
                    ends = column + len(text)


def test_a_dense_model_in_part_on_a_card() -> None:
    assert drawn(plans.in_part(), 76) == [
        "in 0         10        20        30",
        "░░ ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░0▊",
        "   40        50        60        70         out",
        "   0▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊ 0",
        "0 CUDA0 43 layers · ░ RAM 38 layers, embedding",
    ]


def test_experts_in_ram_are_told_apart_from_their_layers() -> None:
    assert drawn(plans.experts_apart(), 76) == [
        "        in 0         10        20        30        40       out",
        "layers  ░░ 0▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊▊ 0",
        "experts    ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░0▊▊▊▊▊▊▊▊▊▊▊▊▊▊",
        "0 CUDA0 49 layers · ░ RAM experts of 33 layers, embedding",
    ]


def test_tiles_grow_with_the_room() -> None:
    ruler, tiles, _ = drawn(plans.on_cpu(), 116)
    assert ruler.startswith("in 0              5")
    assert tiles == "░░ " + "░░▌" * 32 + " ░░░"


def test_glyphs_tell_devices_apart_without_colour() -> None:
    for plan in plans.all_plans():
        known = marks(plan)
        assert len({mark.glyph for mark in known.values()}) == len(known)
    _, tiles, legend = drawn(plans.on_two(), 100)
    assert Counter(tiles) == {"▊": 78, "0": 1, "1": 2, "░": 2, " ": 2}
    assert legend == "0 CUDA0 40 layers · 1 CUDA1 41 layers · ░ RAM embedding"


def test_gpus_without_numbers_of_their_own_are_counted() -> None:
    plan = plans.on_two()
    odd = tuple(
        replace(row, name=name)
        for row, name in zip(plan.devices, ("Vulkan3", "RPC3", "host"), strict=True)
    )
    assert [mark.glyph for mark in marks(replace(plan, devices=odd)).values()] == ["0", "1", "░"]
    assert [mark.glyph for mark in marks(plan).values()] == ["0", "1", "░"]


@pytest.mark.parametrize("width", [40, 56, 76, 116, 200])
def test_no_line_is_wider_than_asked(width: int) -> None:
    for plan in plans.all_plans():
        assert max(line.cell_length for line in strip_lines(plan, width)) <= width


@pytest.mark.parametrize("width", [60, 116])
def test_every_layer_is_found_under_the_pointer(width: int) -> None:
    for plan in (plans.in_part(), plans.experts_apart()):
        n_lines = len(strip_lines(plan, width))
        found = {place_at(plan, width, x, y) for y in range(n_lines) for x in range(width)}
        assert found == {None, *range(len(layer_places(plan)))}


def test_a_selected_layer_is_pointed_at_and_told() -> None:
    lines = strip_lines(plans.in_part(), 116, selected=39, detail="layer 38 on CUDA0")
    assert lines[0].plain.index("▾") == 3 + 38
    assert lines[-1].plain == "layer 38 on CUDA0"
    assert len(lines) == len(strip_lines(plans.in_part(), 116))
