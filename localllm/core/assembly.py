"""A finished plan from what was decided: the solution's values, its estimates and its words."""

from __future__ import annotations

from collections.abc import Iterator

from localllm.core import explain
from localllm.core.estimate import Estimates
from localllm.core.flags import llama_args
from localllm.core.placing import Problem, tensor_overrides, with_cached_pages
from localllm.core.plan import Basis, Counterfactual, Plan
from localllm.core.proof import differences
from localllm.core.solution import Solution


def assembled(
    problem: Problem,
    solution: Solution,
    *,
    estimates: Estimates,
    further: Solution | None,
    counterfactuals: tuple[Counterfactual, ...],
    basis: Basis,
    basis_reason: str | None,
) -> Plan:
    """Return the plan of a solution. ``further``: one step more, which does not fit."""
    model, hardware, policy = problem.model, problem.hardware, problem.policy
    settings, placement, shape = solution.settings, solution.placement, solution.settings.shape
    overrides = tensor_overrides(placement)
    return Plan(
        basis=basis,
        memory_basis=solution.memory.basis,
        basis_reason=basis_reason,
        verdict=solution.verdict,
        model=model,
        hardware=hardware,
        n_ctx=shape.n_ctx,
        n_batch=settings.n_batch,
        n_ubatch=shape.n_ubatch,
        type_k=shape.type_k,
        type_v=shape.type_v,
        flash_attn=settings.flash_attn,
        n_gpu_layers=placement.n_gpu_layers,
        n_layer_total=model.n_layer_total,
        tensor_split=tuple(float(n) for n in placement.layers_per_device),
        tensor_overrides=overrides,
        n_seq=shape.n_seq,
        n_outputs_max=shape.n_outputs_max,
        swa_full=False,
        n_threads=settings.n_threads,
        use_mmap=settings.use_mmap,
        repack=shape.repack,
        devices=with_cached_pages(problem, solution),
        speed=estimates.speed,
        power=estimates.power,
        cost=estimates.cost,
        reasons=(
            *explain.reasons(model, hardware, policy, solution),
            *_other_engine(problem, solution, estimates),
        ),
        cliff=explain.cliff(model, hardware, policy, solution, further=further),
        counterfactuals=counterfactuals,
        llama_args=llama_args(model, hardware, solution, overrides),
        power_limit_w=policy.power_limit_w,
        estimated_terms=solution.memory.estimated,
        differences=differences(problem.memory.formulas, solution),
    )


def _other_engine(problem: Problem, solution: Solution, estimates: Estimates) -> Iterator[str]:
    if not solution.whole or not solution.devices:
        return
    from localllm.core.advice import advice  # it reads the tables of quality, which takes 8 ms

    sentence = advice(problem.model, problem.hardware, problem.policy, solution, estimates.speed)
    if sentence is not None:
        yield sentence
