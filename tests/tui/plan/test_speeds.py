"""Estimates are drawn as ranges, in place, and what nobody can estimate says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.plan import Plan
from localllm.tui.plan.speeds import speeds_lines
from localllm.words.speeds import power_sentences, speed_sentences
from tests.tui.plan import plans


def drawn(plan: Plan, width: int) -> list[str]:
    return [line.plain.rstrip() for line in speeds_lines(plan, width)]


def test_the_estimates_of_a_plan() -> None:
    lines = drawn(plans.in_part(), 76)
    assert lines[0].startswith("decode  est. 2.38 tok/s  ╌")
    assert lines[0].endswith("┤  1.29 to 2.45")
    assert lines[1].startswith("prompt  est.  311 tok/s  ╌")
    assert lines[2].startswith("power   est.  235 W      ╌")
    assert lines[3:] == [
        "energy  est. 99.1 J per token",
        "bound by host bandwidth · prompt by PCIe",
        "power on the GPU boards and CPU while decoding · 290 W at the socket",
        "80 % ranges, estimate: formula",
    ]


def test_a_range_is_drawn_in_proportion() -> None:
    """1.29, 2.38 and 2.45 of 2.45, from 0 at the left."""
    drawn_range = drawn(plans.in_part(), 76)[0].split("  ")[2]
    last = len(drawn_range) - 1
    assert drawn_range.index("┤") == last
    assert drawn_range.index("├") == round(last * 1.2856 / 2.4476)
    assert drawn_range.index("●") == last - 1


def test_figures_are_those_of_the_sentences() -> None:
    for plan in plans.all_plans():
        said = " ".join((*speed_sentences(plan), *power_sentences(plan)))
        for line in drawn(plan, 116):
            if "est. " in line and line.split()[1] == "est.":
                assert line.split()[2] in said
            if " to " in line and "●" in line:
                assert line.rsplit("  ", 1)[1] in said


def test_a_price_is_shown_where_there_is_one() -> None:
    assert any(line.startswith("cost    est. 2.73 USD per") for line in drawn(plans.on_two(), 76))
    assert not any(line.startswith("cost") for line in drawn(plans.in_part(), 76))


def test_what_does_not_fit_has_no_estimate() -> None:
    assert drawn(plans.too_large(), 76) == [
        "speed  — no estimate: the plan does not fit",
        "power  — no estimate: the plan does not fit",
    ]


def test_unknown_power_says_why() -> None:
    plan = plans.in_part()
    device = replace(
        plan.hardware.devices[0],
        power_limit_w=None,
        memory_bandwidth_gb_s=None,
        unknown={"power_limit_w": "NVML is silent"},
    )
    unknown = replace(plan, power=None, hardware=replace(plan.hardware, devices=(device,)))
    assert any("— no estimate of power: CUDA0: NVML is" in line for line in drawn(unknown, 80))


@pytest.mark.parametrize("width", [30, 40, 56, 76, 116, 200])
def test_no_line_is_wider_than_asked(width: int) -> None:
    for plan in plans.all_plans():
        assert max(map(len, drawn(plan, width))) <= width
