"""Pictures in characters: what is larger is drawn larger, and nothing is drawn as something."""

from __future__ import annotations

import pytest
from textual.content import Content

from localllm.tui.widgets.blocks import MARK, flowed, gauge, scale, span, spark


def test_a_sparkline_grows_with_its_values() -> None:
    (row,) = spark([1, 2, 3, 4, 5, 6, 7, 8], high=8)
    assert row == "▁▂▃▄▅▆▇█"


def test_a_gap_is_told_from_nothing_and_nothing_from_little() -> None:
    assert spark([0.0, None, 0.001], high=8) == ["▁ ▁"]


def test_two_rows_are_twice_as_fine() -> None:
    assert spark([1, 8, 9, 16, 99], high=16, height=2) == ["  ▁██", "▁████"]


def test_a_sparkline_without_a_top_is_flat() -> None:
    assert spark([0.0, 0.0], high=0.0) == ["▁▁"]


@pytest.mark.parametrize(
    ("share", "drawn"),
    [
        (None, "░░░░░░░░"),
        (0.0, "░░░░░░░░"),
        (1e-9, "▏░░░░░░░"),  # something is never drawn as nothing
        (0.5, "████░░░░"),
        (0.5 + 1 / 64, "████▏░░░"),  # an eighth of a cell
        (1.0, "████████"),
        (7.0, "████████"),
    ],
)
def test_a_gauge_is_filled_by_its_share(share: float | None, drawn: str) -> None:
    assert gauge(share, width=8).plain == drawn


def test_a_gauge_shows_where_it_should_end_whether_it_has_come_there_or_not() -> None:
    assert gauge(0.25, width=8, mark=0.5).plain == f"██░░{MARK}░░░"
    assert gauge(0.75, width=8, mark=0.5).plain == f"████{MARK}█░░"
    assert gauge(None, width=8, mark=1.0).plain == f"░░░░░░░{MARK}"


def test_what_is_beyond_the_mark_looks_otherwise() -> None:
    content = gauge(0.75, width=8, mark=0.5, style="$primary", over="$warning")
    assert {str(s.style): content.plain[s.start : s.end] for s in content.spans} == {
        "$primary": "████",
        "$foreground": MARK,
        "$warning": "█",
        "$foreground 30%": "░░",
    }


@pytest.mark.parametrize(
    ("value", "drawn"),
    [
        (None, "├───┼───────┤"),
        (10.0, "├●──┼───────┤"),
        (13.0, "├───●───────┤"),
        (20.0, "├───┼──────●┤"),
        (9.9, "◂───┼───────┤"),
        (20.1, "├───┼───────▸"),
    ],
)
def test_a_range_shows_where_a_value_lies_in_it_or_that_it_does_not(
    value: float | None, drawn: str
) -> None:
    assert span(10, 20, middle=13, value=value, width=13).plain == drawn


def test_a_range_without_room_or_width_is_not_drawn() -> None:
    assert span(10, 20, middle=13, value=12, width=4).plain == ""
    assert span(10, 10, middle=10, value=10, width=20).plain == ""


def test_a_scale_says_how_long_it_is() -> None:
    assert scale(14, "15 s").plain == "└─── 15 s ───┘"
    assert scale(6, "").plain == "└────┘"
    assert scale(4, "15 s").plain == "15 s"


def test_pieces_flow_into_as_few_rows_as_they_need() -> None:
    pieces = [Content("one"), Content(""), Content("two"), Content("three")]
    assert [row.plain for row in flowed(pieces, width=9)] == ["one · two", "three"]
    assert [row.plain for row in flowed([Content("far too long")], width=7)] == ["far too", "long"]
