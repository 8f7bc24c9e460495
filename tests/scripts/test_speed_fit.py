"""The fit of the speed formulas to public measurements (scripts/facts/throughput.jsonl)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import fit_speed
import pytest
from _fit.facts import Fact, LeftOut
from _fit.fitting import Row, fitted, left_out_errors, rows_of
from _fit.least_squares import Observation, Place, bounded, fit, predicted
from _fit.parameters import PRIORS
from _fit.report import accuracy, coverage, quantile, spread, spreads
from _fit.write import constants_module

from localllm.core.speed_constants import CONSTANTS, SPREADS

CLASSES = {"decode", "prefill", "2024", "gpu", "cpu", "cuda", "rocm", "vulkan", "metal"} | {
    "gddr",
    "hbm",
    "unified",
    "several",
    "arm",
}
TERMS = {"weights", "kv", "scores", "unpack", "matmul", "feed", "attention", "stream"} | {
    "matrices",
    "crossing",
    "latency",
    "experts",
    "float",
    "bf16",
    "legacy",
    "k",
    "i",
}

Judged = list[tuple[Row, float]]


@pytest.fixture(scope="module")
def rows(table: tuple[list[Fact], list[LeftOut]]) -> list[Row]:
    facts, _ = table
    return rows_of(fact for fact in facts if fact.bound is None)


@pytest.fixture(scope="module")
def judged(rows: list[Row]) -> Judged:
    return left_out_errors(rows)


def decode(judged: Judged, tiers: str) -> list[float]:
    return [e for row, e in judged if row.fact.phase == "tg" and row.fact.tier in tiers]


def test_the_core_holds_what_the_facts_yield(rows: list[Row], judged: Judged) -> None:
    constants = fitted(rows)
    lasting = {name: c for name, c in constants.items() if not name[0].isdigit() and c > 0}
    assert lasting == pytest.approx(dict(CONSTANTS), rel=0.002)
    ranges = spreads(judged, fit_speed.KINDS)
    assert ranges.keys() == SPREADS.keys()
    for name, (low, high) in ranges.items():
        assert SPREADS[name] == pytest.approx((low, high), rel=0.01)
    written: dict[str, Any] = {}
    exec(constants_module(constants, ranges, n_rows=len(rows)), written)
    assert written["CONSTANTS"] == dict(CONSTANTS)


def test_sources_that_were_left_out_are_met_within_the_stated_error(judged: Judged) -> None:
    stated = accuracy(decode(judged, "AB"))
    assert stated.n > 300
    assert stated.median <= 0.15
    assert stated.p90 <= 0.40
    users = accuracy(decode(judged, "C"))
    assert users.median <= 0.15


def test_the_range_holds_as_many_left_out_rows_as_it_says(judged: Judged) -> None:
    covered = [
        inside
        for row, inside in coverage(judged, fit_speed.KINDS)
        if row.fact.phase == "tg" and row.fact.tier in "AB"
    ]
    assert 0.75 <= sum(covered) / len(covered) <= 0.90


def test_a_source_left_out_teaches_nothing(rows: list[Row]) -> None:
    lied = [row for row in rows if row.fact.group == "ahelpme"]
    others = [row for row in rows if row.fact.group != "ahelpme"]
    twice = [Row(fact=row.fact, seconds=row.seconds * 5, places=row.places) for row in lied]
    errors = {row.fact.id: e for row, e in left_out_errors([*others[:200], *lied]) if row in lied}
    lies = {row.fact.id: e for row, e in left_out_errors([*others[:200], *twice]) if row in twice}
    for name, error in errors.items():
        assert lies[name] == pytest.approx(error + math.log(5), abs=0.03)


def test_no_constant_belongs_to_a_card_or_a_model() -> None:
    assert len(PRIORS) < 70
    for name, parameter in PRIORS.items():
        assert parameter.prior > 0 and parameter.prior >= parameter.least, name
        assert set(name.split()) <= CLASSES | TERMS, name


def test_made_times_give_their_constants_back() -> None:
    true = {"a": 2.0, "b": 0.5, "c": 3.0}
    quantities = [{"a": 1.0 + i % 3, "b": 5.0 * (i % 4), "c": 0.3 * i} for i in range(40)]
    places = [
        (Place(memory={"a": q["a"]}, compute={"b": q["b"]}, rest={"c": q["c"]}),)
        for q in quantities
    ]
    rows = [Observation(seconds=predicted(some, true), places=some) for some in places]
    rows.append(Observation(seconds=1000.0, places=places[3]))  # a wild one pulls little
    found = fit(rows, dict.fromkeys(true, 1.0), dict.fromkeys(true, 0.0), pull=1e-6)
    assert found == pytest.approx(true, rel=0.05)


def test_no_constant_falls_below_what_physics_allows() -> None:
    rows = [
        Observation(seconds=0.5 * a, places=(Place(memory={"a": float(a)}, compute={}, rest={}),))
        for a in range(1, 9)
    ]
    assert fit(rows, {"a": 1.2}, {"a": 1.03}, pull=0.01) == {"a": 1.03}


@pytest.mark.parametrize(
    ("right", "floors", "expected"),
    [
        ((2.0, 4.0), (0.0, 0.0), (1.0, 2.0)),
        ((2.0, -4.0), (0.0, 0.0), (1.0, 0.0)),
        ((2.0, 4.0), (0.0, 3.0), (1.0, 3.0)),
    ],
)
def test_bounds_hold(
    right: Sequence[float], floors: Sequence[float], expected: Sequence[float]
) -> None:
    matrix = [[2.0, 0.0], [0.0, 2.0]]
    assert bounded(matrix, right, floors) == pytest.approx(expected)


def test_quantiles_are_interpolated() -> None:
    assert quantile([1.0, 2.0, 3.0], 0.5) == 2.0
    assert quantile([0.0, 10.0], 0.1) == pytest.approx(1.0)


def test_a_class_with_few_rows_is_no_surer_than_all_rows_together() -> None:
    everybody = [-0.5 + i / 100 for i in range(101)]
    low, high = spread([0.01, -0.01], everybody)
    assert low < 0.7 and high > 1.4
    low, high = spread([0.001 * i for i in range(-10, 11)], everybody)
    assert low == 0.97 and high == 1.03
