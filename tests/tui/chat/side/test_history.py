"""The past in stretches: rates from counts, means from looks, and nothing where nothing was."""

from __future__ import annotations

import pytest

from localllm.tui.chat.side.history import N_STRETCHES, History, means, rates, resampled


def known(history: History | None) -> History:
    assert history is not None
    return history


def test_a_steady_count_has_one_rate_up_to_its_last_point() -> None:
    found = known(rates([(0.0, 1.0), (1.0, 11.0), (4.5, 46.0)]))
    assert found.seconds == 15.0
    told = [value for value in found.values if value is not None]
    assert told == pytest.approx([10.0] * 18)  # 4.5 s of stretches of 0.25 s
    assert found.values[18:] == (None,) * (N_STRETCHES - 18)


def test_a_pause_shows_where_it_was() -> None:
    found = known(rates([(0.0, 0.0), (5.0, 50.0), (10.0, 50.0), (15.0, 100.0)]))
    assert found.values[:20] == pytest.approx((10.0,) * 20)
    assert found.values[20:40] == pytest.approx((0.0,) * 20)
    assert found.values[40:] == pytest.approx((10.0,) * 20)


@pytest.mark.parametrize(
    ("long_s", "shown_s"), [(15.0, 15.0), (15.1, 30.0), (31.0, 60.0), (500.0, 60.0)]
)
def test_it_shows_the_shortest_length_that_holds_all_or_the_last_minute(
    long_s: float, shown_s: float
) -> None:
    found = known(rates([(t * long_s / 100, t) for t in range(101)]))
    assert found.seconds == shown_s
    last = next(value for value in reversed(found.values) if value is not None)
    assert last == pytest.approx(100 / long_s)


def test_one_point_tells_no_rate() -> None:
    assert rates([]) is None
    assert rates([(1.0, 1.0)]) is None


def test_the_total_of_the_rates_is_the_count() -> None:
    points = [(t * 0.13, float(t * t)) for t in range(60)]
    found = known(rates(points))
    widths = found.seconds / N_STRETCHES
    end_s = points[-1][0]
    total = sum(
        value * min(widths, end_s - i * widths)
        for i, value in enumerate(found.values)
        if value is not None
    )
    assert total == pytest.approx(points[-1][1] - points[0][1])


def test_a_picture_that_moves_on_does_not_flicker() -> None:
    """Stretches end at fixed moments: only the last one changes before the next begins."""
    looks = [(100 + i / 4, float(i % 7)) for i in range(600)]
    first, second = (known(means(looks, now_s=now_s)) for now_s in (240.3, 240.6))
    assert first.values[:-1] == second.values[:-1]
    later = known(means(looks, now_s=241.3))
    assert later.values[:-2] == first.values[1:-1]


def test_looks_are_averaged_and_held_for_a_second_and_no_longer() -> None:
    found = known(means([(10.0, 50.0), (10.1, 70.0), (13.0, 80.0)], now_s=20.0))
    assert found.values[0] == 60.0
    assert found.values[1:4] == (70.0,) * 3
    assert found.values[4:12] == (None,) * 8
    assert found.values[12] == 80.0
    assert found.values[-1] is None


def test_looks_of_more_than_a_minute_ago_are_gone() -> None:
    assert means([(10.0, 50.0)], now_s=71.0) is None


def test_fewer_columns_show_means_and_gaps_where_all_are_gaps() -> None:
    history = History(seconds=15.0, values=(1.0, 3.0, None, 5.0, None, None))
    assert resampled(history, 3) == [2.0, 5.0, None]
    assert resampled(history, 60) == list(history.values)
