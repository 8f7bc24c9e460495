"""make_plan(model, hardware, policy) -> Plan. Every decision about placement is made here.

The number of GPU layers is decided in ``best_placement``: on which devices everything fits is found
in ``whole.py``, what lies there where not everything does in ``partial.py``, the split over them in
``split.py``, the context in ``_largest_context``, the KV type in ``_solve_for_kv_type``. Memory
comes from a ``MemorySource`` (the formulas, or llama.cpp's allocator), words from ``explain.py``;
this file knows nothing of where a model or a machine came from.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from localllm.core.assembly import assembled
from localllm.core.batches import with_best_batch
from localllm.core.breakdown import MemoryModel
from localllm.core.counterfactuals import counterfactuals
from localllm.core.estimate import Estimator
from localllm.core.groups import device_groups
from localllm.core.hardware import Device, Hardware
from localllm.core.memory import N_CTX_PADDING, MemorySource, ProvenMemory
from localllm.core.model import ModelSpec
from localllm.core.partial import fewest_host_experts, hopeless, most_layers
from localllm.core.placing import (
    Problem,
    place,
    with_breakdown,
)
from localllm.core.plan import Basis, Counterfactual, Plan, SpeedEstimate
from localllm.core.policy import KV_CHOICES, Policy
from localllm.core.ranking import cpu_is_faster
from localllm.core.search import largest
from localllm.core.settings import BASE_N_CTX, Settings, check_wishes, settle, wanted_n_ctx
from localllm.core.solution import Solution
from localllm.core.whole import whole_on_gpus
from localllm.errors import UsageError

if TYPE_CHECKING:
    from localllm.core.calibration import Calibration


def make_plan(
    model: ModelSpec,
    hardware: Hardware,
    policy: Policy,
    *,
    engine: ProvenMemory | None = None,
    basis: Basis = "formula",
    basis_reason: str | None = None,
    calibration: Calibration | None = None,
    with_counterfactuals: bool = True,
) -> Plan:
    """Return the plan for a model on a machine, whether it fits or not (``Plan.verdict``).

    With ``engine``, llama.cpp's own allocator, the formulas' answer is where the search starts, and
    the engine's figures decide. ``basis`` is what the plan is called without it, ``basis_reason``
    why. ``calibration`` moves the speed by what was measured on this machine. Without
    counterfactuals, each a plan of its own, what no GPU holds whole is planned several times
    quicker. Raises UsageError for wishes that contradict the model, the machine or each other.
    """
    formulas = MemoryModel(model, (), hardware.host)
    problem = Problem(memory=formulas, hardware=hardware, policy=policy)
    traffic = formulas.traffic
    guess = solution = with_best_batch(problem, solve(formulas, hardware, policy), traffic)
    if engine is not None:
        here = engine.with_devices(guess.devices)
        here.begin_proof(guess.placement, guess.settings.shape)

    def speed(changed: Problem, other: Solution) -> SpeedEstimate | None:
        # A shorter context cannot be as full as the longer one.
        depth = min(policy.depth, other.settings.shape.n_ctx - 1)
        wishes = replace(changed.policy, depth=depth)
        estimator = Estimator(
            changed.model,
            changed.hardware,
            wishes,
            calibration=calibration,
            traffic=traffic if changed.model is model else None,
        )
        return estimator.estimate(other).speed

    def gains(over: Solution) -> tuple[Counterfactual, ...]:
        if not with_counterfactuals:
            return ()
        return counterfactuals(
            problem, solution=over, guess=guess, solve=_solve_by_formulas, speed=speed
        )

    others = gains(guess)
    if engine is not None:
        problem = replace(problem, memory=engine)
        solution = _proven_with_batch(engine, problem, near=guess)
        basis = "exact" if basis == "formula" else basis
        if solution.score != guess.score:
            others = gains(solution)
    estimator = Estimator(model, hardware, policy, calibration=calibration, traffic=traffic)
    return assembled(
        problem,
        solution,
        estimates=estimator.estimate(solution),
        further=one_step_further(problem, solution),
        counterfactuals=others,
        basis=basis,
        basis_reason=basis_reason,
    )


def _proven_with_batch(engine: ProvenMemory, problem: Problem, *, near: Solution) -> Solution:
    """Prove with the batch that the formulas chose; with the usual one where it takes a layer."""
    n_ubatch = near.settings.shape.n_ubatch
    chosen = replace(problem, policy=replace(problem.policy, n_ubatch=n_ubatch))
    found = _proven(engine, chosen, near=near)
    if found.score < near.score and problem.policy.n_ubatch is None:
        usual = _proven(engine, problem, near=near)
        found = max(found, usual, key=lambda solution: solution.score)
    return found


def _proven(engine: ProvenMemory, problem: Problem, *, near: Solution) -> Solution:
    """Search with llama.cpp's allocator from the formulas' answer; prove what it finds.

    It must fit by the engine's count, and one step further must not.
    """
    found = solve(engine, problem.hardware, problem.policy, near=near, trusting=True)
    further = one_step_further(problem, found)
    if further is not None and further.gpus_fit:
        found = solve(engine, problem.hardware, problem.policy, near=further)
    proof = engine.with_devices(found.devices).proof(found.placement, found.settings.shape)
    return with_breakdown(problem, found, proof)


def solve(
    memory: MemorySource,
    hardware: Hardware,
    policy: Policy,
    *,
    near: Solution | None = None,
    trusting: bool = False,
) -> Solution:
    """Choose KV type, context, devices and layers: the plan without its words.

    ``near`` is another source's answer: the search starts there, which saves most questions.
    ``trusting`` saves one more, see ``Problem``.
    """
    check_wishes(memory.model, hardware, policy)
    problem = Problem(memory=memory, hardware=hardware, policy=policy, trusting=trusting)
    if "auto" in (policy.type_k, policy.type_v):
        return _solve_for_kv_type(problem, near=near)
    return _solve_for_context(problem, near=near)


def _solve_for_kv_type(problem: Problem, *, near: Solution | None) -> Solution:
    """Return the best KV type's solution: the first, in order of quality, that costs no layer.

    A coarser type is taken only where it puts more on the GPUs, or makes the plan fit at all.
    """
    best: Solution | None = None
    for kv_type in KV_CHOICES:
        policy = problem.policy
        fixed = replace(
            policy,
            type_k=kv_type if policy.type_k == "auto" else policy.type_k,
            type_v=kv_type if policy.type_v == "auto" else policy.type_v,
        )
        try:
            trial = _solve_for_context(replace(problem, policy=fixed), near=near)
        except UsageError:
            if best is None:
                raise
            continue
        if best is None or trial.score > best.score:
            best = trial
        if best.verdict == "fits" and (best.whole or not problem.hardware.usable_devices):
            break
    assert best is not None
    return best


def _solve_for_context(problem: Problem, *, near: Solution | None) -> Solution:
    n_ctx = wanted_n_ctx(problem.model, problem.policy)
    if n_ctx is not None:
        return best_placement(problem, n_ctx=n_ctx, near=near)
    return _largest_context(problem, near=near)


def best_placement(problem: Problem, *, n_ctx: int, near: Solution | None = None) -> Solution:
    """Decide the number of GPU layers: the most that fit, on the fewest devices that hold them all.

    Of unlike cards, on those that decode fastest.

    A mixture of experts that no devices hold whole keeps all its layers there and some layers'
    experts in RAM. Falls back to the CPU alone where no GPU has room for one layer, or where the
    CPU is the faster. A number that the user fixed is kept even where it does not fit: the
    verdict then says so.
    """
    settings = settle(problem.model, problem.hardware, problem.policy, n_ctx=n_ctx)
    fixed = problem.policy.n_gpu_layers
    total = problem.model.n_layer_total
    wanted = total if fixed is None or fixed < 0 else min(fixed, total)
    devices = problem.hardware.usable_devices
    if not wanted or not devices:
        return _on_the_cpu(problem, settings)
    found = whole_on_gpus(problem, settings, n_gpu_layers=wanted)
    here = problem.on(devices)
    if found is None:
        found = fewest_host_experts(here, settings, n_gpu_layers=wanted, near=near)
    if found is None and fixed is not None and fixed >= 0:
        return place(here, settings, n_gpu_layers=wanted)
    if found is None:
        found = most_layers(here, settings, below=wanted, near=near)
    if found is None:
        return _on_the_cpu(problem, settings)
    if _left_to_us(problem.policy) and cpu_is_faster(problem, settings, found):
        alone = _on_the_cpu(problem, settings)
        if alone.verdict == "fits":
            return replace(alone, outpaces_gpus=True)
    return found


def _left_to_us(policy: Policy) -> bool:
    """Whether the person said nothing of what should lie on GPUs."""
    return (policy.n_gpu_layers, policy.n_cpu_moe, policy.tensor_split) == (None, None, None)


def one_step_further(problem: Problem, solution: Solution) -> Solution | None:
    """Return the solution with one more layer, or one more layer's experts, on its GPUs.

    It does not fit: that is what makes the solution the best. None where there is no such step.
    """
    placement, n_experts = solution.placement, len(solution.placement.host_expert_layers)
    here = problem.on(solution.devices)
    if not solution.devices:
        return None
    partly = placement.n_gpu_layers < problem.model.n_layer_total
    if problem.policy.n_cpu_moe is None and n_experts and not _all_experts_out(solution):
        n_experts -= 1
    elif partly:
        n_experts += bool(n_experts)
        placement = replace(placement, n_gpu_layers=placement.n_gpu_layers + 1)
    elif n_experts and problem.policy.n_cpu_moe is None:
        n_experts -= 1
    else:
        return None
    return place(
        here, solution.settings, n_gpu_layers=placement.n_gpu_layers, n_host_experts=n_experts
    )


def _all_experts_out(solution: Solution) -> bool:
    """Whether every offloaded block's experts are in RAM, and some blocks are not offloaded."""
    placement = solution.placement
    return (
        solution.rows[-1].n_layers > 0
        and len(placement.host_expert_layers) >= placement.n_gpu_layers - 1
    )


def _on_the_cpu(problem: Problem, settings: Settings) -> Solution:
    """Everything in RAM; without rearranged weights where only that fits."""
    here = problem.on(())
    solution = place(here, settings, n_gpu_layers=0)
    if solution.verdict == "fits" or problem.policy.repack is not None:
        return solution
    plain = replace(settings, shape=replace(settings.shape, repack=False))
    other = place(here, plain, n_gpu_layers=0)
    return other if other.verdict == "fits" else solution


def _largest_context(problem: Problem, *, near: Solution | None) -> Solution:
    """Return the largest context that moves nothing off a GPU compared with a short one."""
    limit = problem.model.n_ctx_train or BASE_N_CTX
    base = best_placement(problem, n_ctx=min(BASE_N_CTX, limit), near=near)

    def trial(step: int) -> Solution | None:
        return _same_placement(problem, base, n_ctx=min(step * N_CTX_PADDING, limit))

    start = None if near is None else near.settings.shape.n_ctx // N_CTX_PADDING
    return largest(trial, low=1, high=max(-(-limit // N_CTX_PADDING), 1), near=start) or base


def _same_placement(problem: Problem, base: Solution, *, n_ctx: int) -> Solution | None:
    """Return a solution's placement with another context where it fits, on more GPUs if need be."""
    settings = settle(problem.model, problem.hardware, problem.policy, n_ctx=n_ctx)
    if not base.devices:
        found = replace(_on_the_cpu(problem, settings), outpaces_gpus=base.outpaces_gpus)
        return found if found.verdict == "fits" else None
    n, n_experts = base.placement.n_gpu_layers, len(base.placement.host_expert_layers)
    groups: list[tuple[Device, ...]] = [base.devices]
    if base.whole:
        devices = problem.hardware.usable_devices
        groups = [g for g in device_groups(devices, problem.policy) if len(g) >= len(groups[0])]
    for group in groups:
        here = problem.on(group)
        if not base.whole or not hopeless(here, settings, n_gpu_layers=n):
            found = place(here, settings, n_gpu_layers=n, n_host_experts=n_experts)
            if found.verdict == "fits":
                return found
    return None


def _solve_by_formulas(problem: Problem, near: Solution | None) -> Solution:
    formulas = problem.memory.formulas
    if near is None:
        formulas = formulas.with_compute(None)
    return solve(formulas, problem.hardware, problem.policy, near=near, trusting=True)
