"""What is planned before a run begins, how often is measured, and how long it still takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localllm import session
from localllm.benching import rules
from localllm.benching.countdown import Countdown, Piece
from localllm.benching.planned import plan_all
from localllm.core.bench.activity import Planning, Progress
from localllm.core.bench.progress import Work, seconds_left, work_of_test
from localllm.core.bench.sweep import Axes
from localllm.core.bench.tests import bench_tests
from localllm.core.generation import BenchTest
from localllm.core.policy import Policy
from localllm.core.prediction import predicted, predicted_test
from localllm.errors import UsageError
from tests.core.test_documents import plan_8b
from tests.support.specs import gpu, machine


def test_split_mode_none_plans_for_one_gpu(toy_model: Path) -> None:
    two = replace(machine(gpu(), gpu("CUDA1")), source="saved.json")
    local = session.resolve_model(str(toy_model))
    tests = bench_tests(prompts=(16,), gens=(), pairs=(), depths=(0,), repetitions=1)

    told: list[Progress] = []

    def planned(**axes: Any) -> list[tuple[str, ...]]:
        with session.Session(hardware=two, basis="formula") as whole:
            found = plan_all(
                whole, [local], Policy(), Axes(**axes), tests, chat=False, on_progress=told.append
            )
        return [one.plan.device_names for one in found]

    assert planned(split_mode=("none",), main_gpu=(0, 1)) == [("CUDA0",), ("CUDA1",)]
    assert [one.step for one in told] == [
        Planning(model=local.name, settings="main_gpu 0"),
        Planning(model=local.name, settings="main_gpu 1"),
    ]
    assert planned(tensor_split=((1.0, 1.0),)) == [("CUDA0", "CUDA1")]
    with pytest.raises(UsageError, match="--main-gpu 2 names no GPU: there are 2"):
        planned(split_mode=("none",), main_gpu=(2,))


def test_a_steady_run_has_five_windows_at_least() -> None:
    found = rules.rules_of("steady", repetitions=2, delay_s=None, chat=True)
    assert (found.repetitions, found.delay_s) == (5, 10.0)
    assert found.passes == (("forward", 3), ("backward", 2))
    assert found.per_window(0.3, period_s=0.1) == 37  # 10 s and a tenth
    assert found.per_window(0.3, period_s=1.0) == 184  # 50 periods and a tenth
    assert found.per_window(60.0, period_s=0.1) == 1  # one is long enough


TG = BenchTest(n_prompt=0, n_gen=128)


def test_the_time_left_begins_with_the_plans_estimate() -> None:
    """Five times 128 tokens; a prompt also has its warm-up, and a depth is computed first."""
    plan = plan_8b()
    tg, pp = (
        predicted_test(plan, n_prompt=0, n_gen=128, depth=0),
        predicted(plan, "pp", n_tokens=512, depth=0),
    )
    assert tg is not None and pp is not None
    generation = work_of_test(plan, TG)
    prompt = work_of_test(plan, BenchTest(n_prompt=512, n_gen=0))
    assert (generation.kind, prompt.kind) == ("tg", "pp")
    assert generation.seconds == pytest.approx(640 / tg.tok_s)
    assert prompt.seconds == pytest.approx(6 * 512 / pp.tok_s)
    unknown = work_of_test(replace(plan, speed=None), TG)
    assert unknown.seconds is None
    assert seconds_left([unknown], []) is None


def test_the_time_left_follows_what_was_measured() -> None:
    """The first test took twice what was expected: so will the second, less what it has had."""
    now_s = [0.0]
    pieces = [Piece(owner=0, work=Work(kind="tg", seconds=60.0)) for _ in range(2)]
    countdown = Countdown(pieces, clock=lambda: now_s[0])
    countdown.begin()
    assert countdown.left_s() == 120.0
    now_s[0] = 120.0
    countdown.end(0, "tg")
    countdown.begin()
    assert countdown.left_s() == 120.0
    now_s[0] = 150.0
    assert countdown.left_s() == 90.0
    assert countdown.left_s(0.75) == 10.0  # its own pace tells more
    countdown.drop(0)
    assert countdown.left_s() is None
