"""Own measurements move the estimate, as far as they can be believed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from localllm.core.calibration import HALF_LIFE_DAYS, Calibration, Observation, typical_ratio
from localllm.core.plan import SpeedEstimate

ESTIMATE = SpeedEstimate(
    tg_tok_s=100.0,
    tg_low=80.0,
    tg_high=125.0,
    pp_tok_s=2000.0,
    pp_low=1400.0,
    pp_high=2800.0,
    at_depth=0,
    basis="formula",
    bound_by="VRAM bandwidth",
)
MODEL, PLACE = "llama-8B-Q4_K_M", "gpu: cuda RTX 4090"


def seen(ratio: float, **changes: Any) -> Observation:
    """A decode of 128 tokens that was ``ratio`` times as fast as the formula said."""
    values: dict[str, Any] = {
        "model_key": MODEL,
        "placement_key": PLACE,
        "phase": "tg",
        "predicted_tok_s": 50.0,
        "measured_tok_s": 50.0 * ratio,
        "n_tokens": 128,
        "age_days": 0.0,
    }
    return Observation(**(values | changes))


def moved(*observations: Observation, estimate: SpeedEstimate = ESTIMATE) -> SpeedEstimate:
    return Calibration(observations).applied(estimate, model_key=MODEL, placement_key=PLACE)


def shift(*observations: Observation) -> float:
    """How far the decode speed was moved, as a factor."""
    return moved(*observations).tg_tok_s / ESTIMATE.tg_tok_s


def width(estimate: SpeedEstimate) -> float:
    return math.log(estimate.tg_high / estimate.tg_low)


def test_without_observations_the_estimate_is_the_same_object() -> None:
    assert moved() is ESTIMATE


def test_many_consistent_observations_become_the_estimate() -> None:
    for ratio in (0.7, 1.0, 1.3):
        after = moved(*[seen(ratio)] * 50)
        assert after.tg_tok_s == pytest.approx(100 * ratio, rel=0.01)
        assert after.basis == "formula, moved by 50 own measurements"


def test_one_run_of_the_same_model_counts_for_most_of_what_it_says() -> None:
    assert 1.15 < shift(seen(1.2)) < 1.2
    assert moved(seen(1.2)).basis == "formula, moved by 1 own measurement"


def test_a_formula_that_is_sure_of_itself_is_moved_less() -> None:
    sure = replace(ESTIMATE, tg_low=94.0, tg_high=106.0)
    assert 1.0 < moved(seen(1.2), estimate=sure).tg_tok_s / 100 < shift(seen(1.2))


def test_only_the_measured_phase_moves() -> None:
    after = moved(seen(1.2))
    assert (after.pp_low, after.pp_tok_s, after.pp_high) == (1400.0, 2000.0, 2800.0)
    after = moved(seen(0.8, phase="pp", n_tokens=512))
    assert after.pp_tok_s is not None and after.pp_tok_s < 1800
    assert (after.tg_low, after.tg_tok_s, after.tg_high) == (80.0, 100.0, 125.0)
    no_prompt = replace(ESTIMATE, pp_tok_s=None, pp_low=None, pp_high=None)
    assert moved(seen(0.8, phase="pp"), estimate=no_prompt) is no_prompt


def test_what_is_nearer_counts_more() -> None:
    """The same model in the same place, other models there, another place: 1.3 times each."""
    same = shift(*[seen(1.3)] * 8)
    other_model = shift(*[seen(1.3, model_key="qwen")] * 8)
    other_place = shift(*[seen(1.3, placement_key="cpu")] * 8)
    assert same > other_model > other_place > 1.0
    assert other_model == pytest.approx(1.3**0.5, rel=0.01)  # half of the log
    assert other_place < 1.3**0.11


def test_many_models_say_more_of_a_place_than_one() -> None:
    one = shift(*[seen(1.3, model_key="a")] * 6)
    six = shift(*[seen(1.3, model_key=name) for name in "abcdef"])
    assert one < six < 1.3


def test_the_model_itself_outweighs_all_others() -> None:
    others = [seen(1.4, model_key=name) for name in "abcdef" for _ in range(5)]
    assert shift(*others, *[seen(0.9)] * 4) == pytest.approx(0.9, rel=0.03)


def test_measurements_narrow_the_range_but_never_below_the_noise_of_a_run() -> None:
    before = width(ESTIMATE)
    after = [width(moved(*[seen(1.1)] * n)) for n in (1, 2, 5, 20, 500)]
    assert all(narrow <= wide for wide, narrow in zip([before, *after], after, strict=False))
    assert after[-1] >= 2 * math.log(1.08) - 1e-9
    others = width(moved(*[seen(1.1, model_key="qwen")] * 20))
    assert after[0] < others < before


def test_the_range_stays_around_the_speed_and_is_never_wider_than_before() -> None:
    draw = random.Random(4)
    for _ in range(300):
        runs = [
            seen(
                math.exp(draw.gauss(0, draw.choice([0.02, 0.3, 1.5]))),
                model_key=draw.choice([MODEL, "a", "b"]),
                placement_key=draw.choice([PLACE, "cpu"]),
                n_tokens=draw.choice([16, 128, 2000]),
                age_days=draw.uniform(0, 400),
            )
            for _ in range(draw.randrange(1, 12))
        ]
        after = moved(*runs)
        assert 0 < after.tg_low < after.tg_tok_s < after.tg_high < math.inf
        assert width(after) <= width(ESTIMATE) + 1e-12


def test_a_range_narrower_than_the_noise_stays_as_it_is() -> None:
    sure = replace(ESTIMATE, tg_low=98.0, tg_high=102.0)
    after = moved(seen(1.05), estimate=sure)
    assert after.tg_low / after.tg_tok_s == pytest.approx(0.98)
    assert after.tg_high / after.tg_tok_s == pytest.approx(1.02)


def test_runs_that_scatter_leave_the_range_wider_than_runs_that_agree() -> None:
    agreeing = moved(*[seen(1.1)] * 12)
    scattered = moved(*[seen(1.1 * factor) for factor in (0.8, 1.0, 1.25)] * 4)
    assert width(agreeing) < width(scattered) <= width(ESTIMATE)


@pytest.mark.parametrize("ratio", [0.05, 0.15, 7.0, 1000.0])
def test_a_throttled_run_is_not_trusted(ratio: float) -> None:
    assert shift(seen(ratio)) == pytest.approx(1.0, abs=0.12)
    good = [seen(1.1)] * 5
    assert shift(*good, seen(ratio)) == pytest.approx(shift(*good), rel=0.01)


def test_what_many_days_confirm_is_believed_in_the_end() -> None:
    """Heat passes; RAM in one channel instead of eight does not."""
    one_day = shift(*[seen(0.2, age_days=day / 20) for day in range(15)])
    many_days = shift(*[seen(0.2, age_days=float(day)) for day in range(15)])
    assert one_day > 0.4
    assert many_days == pytest.approx(0.2, rel=0.1)


def test_one_run_apart_from_its_fellows_hardly_counts() -> None:
    """On battery: half as fast as the nine before it."""
    assert shift(*[seen(1.1)] * 9, seen(0.55)) == pytest.approx(1.1, rel=0.02)


def test_old_runs_give_way_to_new_ones() -> None:
    old = [seen(1.3, age_days=4 * HALF_LIFE_DAYS)] * 4
    assert shift(*old, *[seen(0.9)] * 4) == pytest.approx(0.9, rel=0.03)
    assert shift(seen(1.3, age_days=10 * HALF_LIFE_DAYS)) < 1.02
    fresh_first = [shift(seen(1.2, age_days=days)) for days in (0, 60, 240, 1000)]
    assert fresh_first == sorted(fresh_first, reverse=True)


def test_a_clock_that_was_wrong_does_no_harm() -> None:
    assert shift(seen(1.2, age_days=-300.0)) == shift(seen(1.2))
    assert shift(seen(1.2, age_days=1e9)) == pytest.approx(1.0)


def test_short_answers_say_less_than_long_runs() -> None:
    assert shift(seen(1.2, n_tokens=16)) < shift(seen(1.2, n_tokens=640))


def test_repetitions_that_scatter_say_less_than_repetitions_that_agree() -> None:
    """60 tok/s five times over: to 1 %, as usual for 320 tokens, and to 30 %."""
    agreeing, scattered = (
        shift(seen(1.2, n_tokens=320, std_tok_s=std, n_repetitions=5)) for std in (0.6, 18.0)
    )
    assert scattered < shift(seen(1.2, n_tokens=320)) < agreeing < 1.2
    assert shift(seen(1.2, std_tok_s=0.6, n_repetitions=1)) == shift(seen(1.2))


@pytest.mark.parametrize("std", [math.nan, math.inf, -1.0, None])
def test_a_scatter_that_cannot_be_is_as_if_there_were_none(std: float | None) -> None:
    assert shift(seen(1.2, std_tok_s=std, n_repetitions=5)) == shift(seen(1.2))


@pytest.mark.parametrize(
    "changes",
    [
        {"measured_tok_s": 0.0},
        {"measured_tok_s": -3.0},
        {"measured_tok_s": math.nan},
        {"predicted_tok_s": math.inf},
        {"predicted_tok_s": 0.0},
        {"n_tokens": 0},
        {"age_days": math.nan},
    ],
)
def test_what_cannot_be_a_measurement_is_ignored(changes: dict[str, Any]) -> None:
    assert moved(seen(1.2, **changes)) is ESTIMATE
    assert moved(seen(1.2), seen(1.2, **changes)) == moved(seen(1.2))


@pytest.mark.parametrize("pair", [(1e-300, 1e300), (1e300, 1e-300)])
def test_absurd_figures_leave_a_speed(pair: tuple[float, float]) -> None:
    figures = {"predicted_tok_s": pair[0], "measured_tok_s": pair[1]}
    after = moved(seen(1, **figures, std_tok_s=1e300, n_repetitions=3))
    assert after.tg_tok_s == pytest.approx(100, rel=1e-3)


def test_the_order_of_observations_does_not_matter() -> None:
    draw = random.Random(1)
    runs = [seen(draw.uniform(0.8, 1.4), model_key=draw.choice("abc")) for _ in range(30)]
    shuffled: Sequence[Observation] = draw.sample(runs, len(runs))
    assert moved(*shuffled).tg_tok_s == pytest.approx(moved(*runs).tg_tok_s, rel=1e-12)


def test_the_basis_counts_what_was_measured_in_the_same_place() -> None:
    here, there = [seen(1.1)] * 3, [seen(1.1, placement_key="cpu")] * 4
    assert moved(*here, *there).basis == "formula, moved by 3 own measurements"
    assert moved(*there).basis == "formula, moved by 4 own measurements"


def test_the_stated_range_holds_what_is_measured_next() -> None:
    """Machines drawn from the model of errors itself: about 80 % of next runs are in the range.

    Sigma of the formula is ln(1.25) / 1.28 = 0.174, a run's noise 0.05 included; every machine
    shows two runs of the model, and two of each of three others.
    """
    draw = random.Random(7)
    sigma = math.log(1.25) / 1.2816
    bias = sigma**2 - 0.05**2
    inside, narrower = 0, 0.0
    n = 1500
    for _ in range(n):
        place = draw.gauss(0, math.sqrt(0.5 * bias))
        errors = {key: place + draw.gauss(0, math.sqrt(0.5 * bias)) for key in (MODEL, *"abc")}
        runs = [
            seen(math.exp(error + draw.gauss(0, 0.05)), model_key=key, n_tokens=10_000)
            for key, error in errors.items()
            for _ in range(2)
        ]
        after = moved(*runs)
        fresh = 100 * math.exp(errors[MODEL] + draw.gauss(0, 0.05))
        inside += after.tg_low <= fresh <= after.tg_high
        narrower += width(after) / width(ESTIMATE) / n
    assert 0.75 <= inside / n <= 0.9
    assert narrower < 0.45


def test_the_typical_ratio_is_the_middle_one() -> None:
    runs = [seen(ratio) for ratio in (1.0, 1.04, 9.0)] + [seen(0.5, phase="pp")]
    assert typical_ratio(runs, "tg") == pytest.approx(1.04)
    assert typical_ratio(runs, "pp") == pytest.approx(0.5)
    assert typical_ratio([], "tg") is None
