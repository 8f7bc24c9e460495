"""The estimate for the very run that is measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.plan import Plan
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.core.prediction import (
    Prediction,
    Predictor,
    predicted,
    predicted_test,
    run_of_plan,
)
from localllm.units import GiB
from tests.support.specs import gpu, llama_3_8b, machine, mixtral


def plan_8b(*, depth: int = 0) -> Plan:
    return make_plan(llama_3_8b(), machine(gpu()), Policy(n_ctx=16384, depth=depth))


def known(prediction: Prediction | None) -> Prediction:
    assert prediction is not None
    return prediction


def moved(plan: Plan, factor: float) -> Plan:
    """The plan as own measurements would move its decode speed."""
    speed = plan.speed
    assert speed is not None
    changes = {name: getattr(speed, name) * factor for name in ("tg_low", "tg_tok_s", "tg_high")}
    return replace(plan, speed=replace(speed, **changes))


def test_the_stated_run_is_predicted_as_the_plan_states_it() -> None:
    plan = plan_8b(depth=4096)
    assert plan.speed is not None and plan.speed.pp_tok_s is not None
    decode = known(predicted(plan, "tg", n_tokens=1, depth=4096))
    stated = (plan.speed.tg_low, plan.speed.tg_tok_s, plan.speed.tg_high)
    assert (decode.low, decode.tok_s, decode.high) == pytest.approx(stated)
    prompt = known(predicted(plan, "pp", n_tokens=plan.speed.n_prompt, depth=4096))
    assert prompt.tok_s == pytest.approx(plan.speed.pp_tok_s)


def test_a_longer_context_is_slower() -> None:
    plan = plan_8b()
    speeds = [known(predicted(plan, "tg", n_tokens=1, depth=d)).tok_s for d in (0, 4096, 16000)]
    assert speeds == sorted(speeds, reverse=True) and speeds[0] > speeds[-1]


def test_a_plan_at_another_depth_predicts_the_same_run_alike() -> None:
    shallow, deep = plan_8b(), plan_8b(depth=8192)
    runs = [known(predicted(plan, "tg", n_tokens=128, depth=2000)) for plan in (shallow, deep)]
    assert runs[0].tok_s == pytest.approx(runs[1].tok_s)


def test_many_tokens_are_as_fast_as_their_middle_one() -> None:
    plan = plan_8b()
    many = known(predicted(plan, "tg", n_tokens=4001, depth=1000))
    assert many.tok_s == known(predicted(plan, "tg", n_tokens=1, depth=3000)).tok_s


def test_what_was_measured_moves_the_prediction_and_not_the_formula() -> None:
    plan = plan_8b()
    before = known(predicted(plan, "tg", n_tokens=128, depth=512))
    after = known(predicted(moved(plan, 1.25), "tg", n_tokens=128, depth=512))
    assert after.tok_s == pytest.approx(1.25 * before.tok_s)
    assert after.formula_tok_s == before.formula_tok_s


def test_a_mixed_test_takes_the_time_of_both_parts() -> None:
    """Prompt, then tokens in the context that it has filled."""
    plan = plan_8b()
    prompt = known(predicted(plan, "pp", n_tokens=512, depth=100)).tok_s
    text = known(predicted(plan, "tg", n_tokens=128, depth=612)).tok_s
    both = known(predicted_test(plan, n_prompt=512, n_gen=128, depth=100))
    assert both.tok_s == pytest.approx(640 / (512 / prompt + 128 / text))
    assert both.low < both.tok_s < both.high


def test_a_plan_without_an_estimate_predicts_nothing() -> None:
    plan = replace(plan_8b(), speed=None)
    assert predicted(plan, "tg", n_tokens=128, depth=0) is None
    assert predicted_test(plan, n_prompt=512, n_gen=0, depth=0) is None


def test_a_plan_gives_back_the_placement_it_was_made_from() -> None:
    plan = make_plan(
        mixtral(), machine(gpu(free=20 * GiB)), Policy(n_ctx=2048, n_cpu_moe=20, n_gpu_layers=33)
    )
    placement = run_of_plan(plan).placement
    assert placement.host_expert_layers == frozenset(range(20))
    assert placement.layers_per_device == (33,)
    assert plan.speed is not None and plan.speed.decode is not None
    again = known(predicted(plan, "tg", n_tokens=1, depth=0))
    assert again.formula_tok_s == plan.speed.decode.tok_s


def test_one_predictor_says_of_many_runs_what_is_said_of_each() -> None:
    plan = plan_8b(depth=2048)
    predictor = Predictor(plan)
    for n_tokens, depth in ((1, 0), (200, 1000), (512, 8000)):
        run = {"n_tokens": n_tokens, "depth": depth}
        assert predictor.predicted("tg", **run) == predicted(plan, "tg", **run)
        assert predictor.predicted("pp", **run) == predicted(plan, "pp", **run)
