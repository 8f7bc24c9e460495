"""Bars fill their width, whatever their parts."""

from __future__ import annotations

from localllm.cli.draw import STYLES, bar
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.words.memory_sum import COMPUTE, CONTEXT, IN_USE, MODEL, SPARE, parts_of
from tests.support.specs import gpu, llama_3_8b, machine


def test_a_bar_is_as_wide_as_asked_whatever_its_parts() -> None:
    for width in (1, 7, 40, 111):
        for used in (0, 1, 333, 999, 1000, 5000):
            parts = [(MODEL, used), (SPARE, max(1000 - used, 0))]
            assert len(bar(parts, total=1000, width=width)) == width


def test_parts_are_in_proportion() -> None:
    parts = [(IN_USE, 25), (MODEL, 50), (SPARE, 25)]
    assert bar(parts, total=100, width=8).plain == "╱╱████··"
    assert bar(parts, total=100, width=8, unicode=False).plain == "//####.."


def test_a_small_part_is_seen() -> None:
    parts = [(MODEL, 500), (COMPUTE, 1), (SPARE, 499)]
    assert bar(parts, total=1000, width=10).plain == "█████▒····"


def test_more_than_the_total_fills_the_bar() -> None:
    assert bar([(MODEL, 300), (CONTEXT, 50)], total=100, width=5).plain == "█████"


def test_every_part_has_a_style() -> None:
    row = make_plan(llama_3_8b(), machine(gpu()), Policy()).devices[0]
    assert {part for part, _ in parts_of(row)} == set(STYLES)
