"""The fit of the power formulas to public readings (scripts/facts/power.jsonl)."""

from __future__ import annotations

from typing import Any

import pytest
from _fit_power.facts import cap_points, read_facts, readings
from _fit_power.fit import fitted, left_out, quantile
from fit_power import CONSTANTS_FILE, as_module

from localllm.core.energy_constants import CONSTANTS

FACTS = read_facts()

METERS = {
    "GPU board",
    "sum of boards",
    "user reported board",
    "GPU energy of all boards",
    "SoC",
    "wall",
    "wall, peak",
    "none: speeds only",
}


@pytest.fixture(scope="module")
def constants() -> dict[str, float]:
    return fitted(FACTS)


def test_the_core_holds_what_the_facts_yield(constants: dict[str, float]) -> None:
    assert constants == pytest.approx(dict(CONSTANTS), rel=0.01)
    assert CONSTANTS_FILE.name == "energy_constants.py"
    written: dict[str, Any] = {}
    exec(as_module(constants), written)
    assert written["CONSTANTS"] == constants


def test_every_fact_names_its_source_and_meter() -> None:
    ids = [fact["id"] for fact in FACTS]
    assert len(ids) == len(set(ids))
    for fact in FACTS:
        assert fact["source"], fact["id"]
        assert fact["meter"] in METERS, fact["id"]


def test_only_board_readings_are_fitted() -> None:
    boards = {"GPU board", "sum of boards", "user reported board", "GPU energy of all boards"}
    for fact in FACTS:
        if fact["use"] in ("fit", "serving"):
            apple = fact["hardware"].startswith("apple")
            assert fact["meter"] in ({"SoC"} if apple else boards), fact["id"]


@pytest.mark.parametrize(("kind", "median", "ninetieth"), [("gddr", 0.2, 0.4), ("hbm", 0.12, 0.3)])
def test_a_source_left_out_is_met_by_the_others(
    constants: dict[str, float], kind: str, median: float, ninetieth: float
) -> None:
    errors = [
        (abs(predicted / reading.watts - 1), weight)
        for reading, predicted, weight in left_out(FACTS, constants)[kind]
    ]
    assert quantile(errors, 0.5) < median
    assert quantile(errors, 0.9) < ninetieth


def test_most_readings_lie_within_the_stated_range(constants: dict[str, float]) -> None:
    for kind, rows in left_out(FACTS, constants).items():
        inside = sum(
            weight
            for reading, predicted, weight in rows
            if constants["low"] * predicted <= reading.watts <= constants["high"] * predicted
        )
        assert inside >= 0.75 * sum(weight for _, _, weight in rows), kind


def test_capped_cards_are_predicted_at_their_cap() -> None:
    for reading in readings(FACTS, "check"):
        if reading.cap_w is not None:
            assert reading.predicted(CONSTANTS) <= reading.cap_w


def test_the_cost_of_a_cap_is_met_by_most_of_the_sweeps() -> None:
    errors = sorted(
        abs(point.predicted(CONSTANTS) / point.speed - 1) for point in cap_points(FACTS)
    )
    assert errors[len(errors) // 2] < 0.05
    assert errors[int(0.8 * len(errors))] < 0.2
