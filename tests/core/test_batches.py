"""The batch: larger where weights cross the bus for a prompt, and never at a layer's cost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.batches import CLEARLY_FASTER, N_PROMPT, N_UBATCHES, with_best_batch
from localllm.core.breakdown import MemoryModel
from localllm.core.estimate import run_of
from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.placing import Problem
from localllm.core.planner import solve
from localllm.core.policy import Policy
from localllm.core.solution import Solution
from localllm.core.speed import prefill_step
from localllm.core.traffic import traffic_of
from localllm.units import GiB
from tests.support.specs import gpu, llama, machine


def dense() -> ModelSpec:
    return llama(name="dense", n_layer=12)


def mixture() -> ModelSpec:
    return llama(name="mixture", n_layer=6, n_vocab=32000, n_expert=8, n_expert_used=2)


WHOLE = machine(gpu(free=24 * GiB))
PARTLY = machine(gpu(free=2 * GiB + GiB // 2))
NO_GPU = machine()


def solved(
    model: ModelSpec, hardware: Hardware, policy: Policy | None = None
) -> tuple[Problem, Solution, Solution]:
    """The problem, its solution, and the same with the best batch."""
    policy = policy or Policy()
    memory = MemoryModel(model, (), hardware.host)
    problem = Problem(memory=memory, hardware=hardware, policy=policy)
    found = solve(memory, hardware, policy)
    return problem, found, with_best_batch(problem, found, traffic_of(model))


def prompt_s(problem: Problem, solution: Solution) -> float:
    run = run_of(solution, problem.hardware)
    n_prompt = min(N_PROMPT, solution.settings.shape.n_ctx)
    return prefill_step(traffic_of(problem.model), run, n_prompt=n_prompt).seconds


@pytest.mark.parametrize("model", [dense(), mixture()], ids=["dense", "mixture"])
def test_weights_in_ram_behind_a_slow_bus_want_a_larger_ubatch(model: ModelSpec) -> None:
    slow = replace(PARTLY.devices[0], pcie_gen=3, pcie_width=4)
    problem, before, after = solved(model, machine(slow), Policy(n_gpu_layers=2, n_ctx=4096))
    assert before.settings.shape.n_ubatch == 512
    assert after.settings.shape.n_ubatch > 512
    assert after.settings.n_batch >= after.settings.shape.n_ubatch
    assert prompt_s(problem, before) >= CLEARLY_FASTER * prompt_s(problem, after)


@pytest.mark.parametrize("hardware", [WHOLE, PARTLY, NO_GPU], ids=["whole", "partly", "none"])
@pytest.mark.parametrize("model", [dense(), mixture()], ids=["dense", "mixture"])
def test_a_batch_moves_nothing_and_fits(model: ModelSpec, hardware: Hardware) -> None:
    _, before, after = solved(model, hardware)
    assert after.placement == before.placement
    assert after.devices == before.devices
    assert after.verdict == "fits"


@pytest.mark.parametrize("hardware", [WHOLE, PARTLY, NO_GPU], ids=["whole", "partly", "none"])
@pytest.mark.parametrize("model", [dense(), mixture()], ids=["dense", "mixture"])
def test_no_fixed_ubatch_that_moves_nothing_is_clearly_faster(
    model: ModelSpec, hardware: Hardware
) -> None:
    problem, before, after = solved(model, hardware)
    for n_ubatch in N_UBATCHES:
        policy = replace(problem.policy, n_ubatch=n_ubatch)
        other = solve(problem.memory, hardware, policy)
        if other.verdict == "fits" and other.placement == before.placement:
            assert prompt_s(problem, after) <= CLEARLY_FASTER * prompt_s(problem, other)


def test_less_room_never_means_a_larger_ubatch() -> None:
    _, before, _ = solved(dense(), PARTLY)
    spare, free = before.rows[0].spare_bytes or 0, PARTLY.devices[0].free_bytes or 0
    sizes = []
    for share in (0, 0.5, 1):
        tight = machine(gpu(free=free - round(share * spare)))
        after = solved(dense(), tight)[2]
        assert after.placement == before.placement
        sizes.append(after.settings.shape.n_ubatch)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 512


def test_a_fixed_ubatch_or_batch_is_kept() -> None:
    fixed = solved(mixture(), PARTLY, Policy(n_ubatch=256))[2]
    assert fixed.settings.shape.n_ubatch == 256
    limited = solved(mixture(), PARTLY, Policy(n_batch=1024))[2]
    assert limited.settings.n_batch == 1024
    assert limited.settings.shape.n_ubatch <= 1024


def test_a_short_context_limits_the_ubatch() -> None:
    short = solved(mixture(), PARTLY, Policy(n_ctx=1024))[2]
    assert short.settings.shape.n_ubatch <= 1024


def test_what_does_not_fit_keeps_its_batch() -> None:
    _, before, after = solved(mixture(), machine(ram=GiB))
    assert before.verdict == "does-not-fit" and after is before
