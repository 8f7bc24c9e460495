"""Labelled lines at several widths."""

from __future__ import annotations

import pytest
from textual.content import Content

from localllm.tui.widgets.labelled import Row, laid_out

ROWS = (
    Row(label=Content("CPU"), lines=(Content("a processor with many cores"), Content("avx2"))),
    Row(label=Content("Memory"), lines=(lambda width: Content("#" * width),), apart=True),
    Row(label=Content("Notes"), lines=()),
)


def text(width: int) -> list[str]:
    return [line.plain for line in laid_out(ROWS, width)]


def test_labels_stand_in_a_column_and_text_is_wrapped_beside_them() -> None:
    assert text(29) == [
        "CPU     a processor with many",
        "        cores",
        "        avx2",
        "",
        "Memory  " + "#" * 21,
        "Notes   ",
    ]


def test_where_labels_leave_too_little_the_text_goes_below_them() -> None:
    assert text(24)[:3] == ["CPU", "  a processor with many", "  cores"]


@pytest.mark.parametrize("width", [1, 5, 24, 29, 80])
def test_nothing_is_wider_than_its_place_but_a_label(width: int) -> None:
    longest = max(len(row.label) for row in ROWS)
    assert all(len(line) <= max(width, longest, 3) for line in text(width))


def test_no_width_no_lines() -> None:
    assert text(0) == []
