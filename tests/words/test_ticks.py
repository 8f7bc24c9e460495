"""Ticks of an axis."""

from __future__ import annotations

import pytest

from localllm.words.ticks import linear_ticks, tick_text


@pytest.mark.parametrize(
    ("most", "n_steps", "ticks"),
    [
        (4096.0, 5, (0, 1000, 2000, 3000, 4000, 5000)),
        (13.2, 5, (0, 5, 10, 15)),
        (13.2, 3, (0, 5, 10, 15)),
        (13.2, 2, (0, 10, 20)),
        (0.7, 5, (0, 0.2, 0.4, 0.6, 0.8)),
        (1.0, 5, (0, 0.2, 0.4, 0.6, 0.8, 1.0)),
    ],
)
def test_ticks_are_round_and_reach_the_most(
    most: float, n_steps: int, ticks: tuple[float, ...]
) -> None:
    assert linear_ticks(most, n_steps) == pytest.approx(ticks)


def test_a_tick_is_written_in_full() -> None:
    assert [tick_text(value) for value in (0.0, 0.30000000000000004, 5000.0)] == [
        "0",
        "0.3",
        "5,000",
    ]
