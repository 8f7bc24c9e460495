"""What goes to the GPUs where not everything fits: the most layers, or the fewest experts outside.

Numbers only; which of the two is taken, and on which devices, is decided in ``planner.py``.
"""

from __future__ import annotations

from dataclasses import replace

from localllm.core.placing import Problem, place
from localllm.core.search import guided
from localllm.core.settings import Settings
from localllm.core.solution import Solution
from localllm.core.split import budget_bytes


def most_layers(
    problem: Problem, settings: Settings, *, below: int, near: Solution | None
) -> Solution | None:
    """Find the largest number of layers under ``below`` that fits the GPUs; None if not even one.

    A mixture keeps the experts of all of them in RAM, unless the user said which.
    """

    def trial(here: Problem, n: int) -> Solution | None:
        n_experts = n if problem.model.n_expert else 0
        found = place(here, settings, n_gpu_layers=n, n_host_experts=n_experts)
        return found if found.gpus_fit else None

    start = None if near is None else near.placement.n_gpu_layers
    return guided(problem, trial, low=1, high=below - 1, near=near, start=start)


def fewest_host_experts(
    problem: Problem, settings: Settings, *, n_gpu_layers: int, near: Solution | None
) -> Solution | None:
    """Find the fewest layers whose experts must stay in RAM; None where that does not help."""
    model, policy = problem.model, problem.policy
    n_blocks = min(n_gpu_layers, model.n_layer)
    if not model.n_expert or policy.n_cpu_moe is not None:
        return None

    def trial(here: Problem, n_inside: int) -> Solution | None:
        n_outside = n_blocks - n_inside
        found = place(here, settings, n_gpu_layers=n_gpu_layers, n_host_experts=n_outside)
        return found if found.gpus_fit else None

    start = None
    if near is not None and near.placement.n_gpu_layers == n_gpu_layers:
        start = n_blocks - len(near.placement.host_expert_layers)
    return guided(problem, trial, low=0, high=n_blocks - 1, near=near, start=start)


def hopeless(here: Problem, settings: Settings, *, n_gpu_layers: int) -> bool:
    """Whether weights and cache alone, which the formulas know to the byte, exceed the devices."""
    budgets = [budget_bytes(device, here.policy) for device in here.memory.devices]
    if None in budgets:
        return False
    lean = replace(here, memory=here.memory.formulas.with_compute(None))
    rows = place(lean, settings, n_gpu_layers=n_gpu_layers).rows[:-1]
    least = sum(row.model_bytes + row.context_bytes for row in rows)
    return least > sum(budget or 0 for budget in budgets)
