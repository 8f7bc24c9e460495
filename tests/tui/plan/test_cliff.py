"""The gauge shows the room up to the next change, or what it lacks, in the plan's own words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.plan import Cliff, Plan
from localllm.tui.plan.cliff import cliff_lines
from localllm.words.memory import cliff_sentence
from tests.tui.plan import plans


def drawn(plan: Plan, width: int) -> list[str]:
    return [line.plain.rstrip() for line in cliff_lines(plan, width)]


@pytest.mark.parametrize("width", [40, 76, 116])
def test_the_words_are_the_plans_and_no_line_is_too_wide(width: int) -> None:
    for plan in plans.all_plans():
        gauge, *told = drawn(plan, width)
        assert " ".join(told).removeprefix("✗ ") == cliff_sentence(plan)
        assert len(gauge) <= width
        assert "▲" in gauge


def test_room_ends_at_the_mark_before_what_is_kept_free() -> None:
    gauge, _ = drawn(plans.on_cpu(), 100)
    used, room = gauge.split("├")
    assert set(used.removeprefix("RAM ")) == {"╱", "█"}
    assert room.endswith("─▲") or room.rstrip("┈").endswith("─▲")
    assert " 52.0 GiB " in room


def test_what_the_next_step_lacks_lies_beyond_the_end() -> None:
    gauge, told = drawn(plans.in_part(), 80)
    inside, beyond = gauge.split("┃")
    assert set(beyond) == {"╌", "▲"}
    assert "█" in inside
    assert told == "435.5 MiB on CUDA0: with this much more, one more layer fits on the GPU."


def test_what_is_missing_is_crossed_out() -> None:
    gauge, told = drawn(plans.too_large(), 80)
    _, beyond = gauge.split("┃")
    assert set(beyond) == {"\N{BOX DRAWINGS LIGHT DIAGONAL CROSS}", "▲"}
    assert told == "✗ 30.7 GiB in RAM: this much is missing for the plan to fit."


def test_a_cliff_on_a_device_that_only_the_next_step_uses_has_words_alone() -> None:
    cliff = Cliff(device="CUDA1", bytes=-1024, consequence="with this much more, all is well")
    plan = replace(plans.in_part(), cliff=cliff)
    assert drawn(plan, 80) == ["1.00 KiB on CUDA1: with this much more, all is well."]


def test_without_a_cliff_it_says_so() -> None:
    (line,) = drawn(replace(plans.in_part(), cliff=None), 80)
    assert line.startswith("— no cliff")
