"""Student's t against tables and worked examples, and what must hold of any sample."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.core.bench.statistics import (
    holm,
    incomplete_beta,
    interval_half,
    t_p,
    t_quantile,
    welch,
)


@pytest.mark.parametrize(
    ("df", "table"),
    [(1, 12.7062), (2, 4.30265), (4, 2.77645), (9, 2.26216), (30, 2.04227), (1e6, 1.95996)],
)
def test_quantiles_are_those_of_the_tables(df: float, table: float) -> None:
    """Two-sided 95 %, as in any printed table of t; for many degrees of freedom the normal one."""
    assert t_quantile(df) == pytest.approx(table, abs=1e-4 if df > 1 else 1e-3)
    assert t_p(t_quantile(df), df) == pytest.approx(0.05, abs=1e-9)


def test_one_and_two_degrees_of_freedom_have_closed_forms() -> None:
    """Cauchy's distribution, and ``p = 1 - t / sqrt(2 + t^2)``."""
    for t in (0.01, 0.5, 1.0, 3.0, 40.0):
        assert t_p(t, 1) == pytest.approx(1 - 2 * math.atan(t) / math.pi, abs=1e-13)
        assert t_p(t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t), abs=1e-13)


def test_welchs_test_gives_the_worked_examples() -> None:
    """Examples 2 and 3 of Wikipedia's article on the test: p 0.149 at 9.9 df, 0.036 at 24.5."""
    a2 = [17.2, 20.9, 22.6, 18.1, 21.7, 21.4, 23.5, 24.2, 14.7, 21.8]
    b2 = [21.5, 22.8, 21.0, 23.0, 21.6, 23.6, 22.5, 20.7, 23.4, 21.8]
    b2 += [20.7, 21.7, 21.5, 22.5, 23.6, 21.5, 22.5, 23.5, 21.5, 21.8]
    a3 = [19.8, 20.4, 19.6, 17.8, 18.5, 18.9, 18.3, 18.9, 19.5, 22.0]
    b3 = [28.2, 26.6, 20.1, 23.3, 25.2, 22.1, 17.7, 27.6, 20.6, 13.7]
    b3 += [23.2, 17.5, 20.6, 18.0, 23.9, 21.6, 24.3, 20.4, 24.0, 13.2]
    for a, b, p, df in ((a2, b2, 0.149, 9.9), (a3, b3, 0.036, 24.5)):
        found = welch(a, b)
        assert found is not None
        assert (round(found.p, 3), round(found.df, 1)) == (p, df)
        assert (found.low < 0) == (p > 0.05)  # the interval and the test agree


def test_one_value_can_not_be_judged() -> None:
    assert welch([1.0], [2.0, 3.0]) is None
    assert interval_half([1.0]) is None


def test_without_scatter_any_difference_is_certain() -> None:
    same, other = welch([2.0] * 3, [2.0] * 4), welch([2.0] * 3, [3.0] * 3)
    assert same is not None and other is not None
    assert (same.p, other.p, other.difference) == (1.0, 0.0, 1.0)


def test_equal_means_are_called_different_one_time_in_twenty() -> None:
    draw = random.Random(5)
    found = [
        welch([draw.gauss(100, 2) for _ in range(5)], [draw.gauss(100, 6) for _ in range(5)])
        for _ in range(400)
    ]
    wrong = sum(test is not None and test.p < 0.05 for test in found)
    assert 7 <= wrong <= 33  # 20 expected, with a deviation of 4.4


def test_the_interval_of_a_mean_is_that_of_the_table() -> None:
    """1, 2, 3: mean 2, deviation 1; 4.30265 / sqrt(3) to either side."""
    assert interval_half([1.0, 2.0, 3.0]) == pytest.approx(4.302653 / math.sqrt(3), abs=1e-5)


def test_holm_multiplies_the_smallest_most_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.floats(0.3, 60), st.floats(0.3, 60), st.floats(0.001, 0.999))
def test_the_two_sides_of_the_beta_function_add_to_one(a: float, b: float, x: float) -> None:
    here = incomplete_beta(a, b, x)
    assert 0 <= here <= 1
    assert here + incomplete_beta(b, a, 1 - x) == pytest.approx(1, abs=1e-10)
