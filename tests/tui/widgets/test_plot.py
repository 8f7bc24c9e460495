"""Curves drawn with characters, as a person sees them."""

from __future__ import annotations

import pytest

from localllm.tui.widgets.plot import Curve, plain, plotted

MEASURED = Curve(
    name="tg128",
    points=((0, 12.0), (1024, 10.9), (2048, 10.5), (4096, 5.0)),
    mark="●",
    both="◉",
    deviations=(0.2, 0.1, 0.1, 4.0),
)
ESTIMATE = Curve(
    name="tg128, est.",
    points=((0, 12.0), (1024, 11.2), (2048, 10.5), (4096, 9.3)),
    mark="○",
    sparse=True,
)


def test_marks_lie_on_their_values_and_bars_reach_as_far_as_the_deviation() -> None:
    lines = plain(plotted([ESTIMATE, MEASURED], width=50, height=11, x_words="depth"))
    assert lines == [
        "  │◉⠒⠦⠤⠤⠤⣄⣀⣄⣀⡀○ ⢀",
        "10┤          ⠉●⠉⠉⠉⠉⠉⠙⠒⠚⠒⠒⠒◉⠤⢆⣀⠄ ⠄ ⠄ ⠄ ⡀ ⡀ ⡀ ⡀",
        "  │                           ⠉⠑⠒⠤⢄⣀          ⠁ ⠁○",
        "  │                                 ⠉⠑⠢⠤⣀⡀       │",
        "  │                                      ⠈⠉⠒⠢⠤⣀⡀ │",
        " 5┤                                            ⠈⠉●",
        "  │                                              │",
        "  │                                              │",
        " 0┤                                              │",
        "  └┬──────────┬───────────┬──────────────────────┬",
        "   0        1,024       2,048                4,096",
    ]


def test_a_level_curve_is_a_level_line() -> None:
    watts = Curve(name="power", points=tuple((t / 2, 50.0) for t in range(40)))
    lines = plain(plotted([watts], width=30, height=8, x_words="seconds"))
    assert lines[0] == "50┤" + 27 * "⠉"
    assert not any("⠀" < cell <= "⣿" for line in lines[1:] for cell in line)
    assert lines[-1].split() == ["0", "5", "10", "15"]


def test_a_single_point_at_no_depth_is_drawn_at_the_left() -> None:
    lines = plain(
        plotted([Curve(name="", points=((0, 7.0),), mark="●")], width=20, height=6, x_words="")
    )
    assert sum("●" in line for line in lines) == 1
    assert lines[-1].split() == ["0"]


@pytest.mark.parametrize(("width", "height"), [(8, 10), (40, 3), (0, 0)])
def test_where_there_is_no_room_nothing_is_drawn(width: int, height: int) -> None:
    assert plotted([MEASURED], width=width, height=height, x_words="depth") == ()


@pytest.mark.parametrize(("width", "height"), [(20, 5), (33, 8), (58, 12), (120, 30)])
def test_no_line_is_wider_than_asked(width: int, height: int) -> None:
    lines = plain(plotted([ESTIMATE, MEASURED], width=width, height=height, x_words="depth"))
    assert len(lines) == height
    assert max(map(len, lines)) <= width
