"""How many tokens are computed at once: ``n_ubatch``, chosen for the speed of prompts.

Weights that lie in RAM beside a GPU are copied over the bus once per ubatch, so a prompt costs
fewer copies the larger it is. A larger one takes memory: never a layer's place on a GPU, and only
where it makes prompts clearly faster.
"""

from __future__ import annotations

from dataclasses import replace

from localllm.core.estimate import run_of
from localllm.core.placing import Problem, place
from localllm.core.settings import DEFAULT_N_UBATCH, Settings, settle
from localllm.core.solution import Solution
from localllm.core.speed import prefill_step
from localllm.core.traffic import Traffic

N_UBATCHES = (512, 1024, 2048, 4096)
"""On offer; the first is llama.cpp's own default."""

CLEARLY_FASTER = 1.1
"""A larger ubatch must make a prompt so many times faster: it takes memory, and shorter prompts
gain nothing."""

N_PROMPT = N_UBATCHES[-1]
"""The prompt that batches are compared over, or a whole context where that is shorter."""


def with_best_batch(problem: Problem, solution: Solution, traffic: Traffic) -> Solution:
    """Return a solution with the ``n_ubatch`` that its prompts are best served by.

    The placement stays as it is, to the layer and device. A ubatch or batch that the person fixed
    is kept, and so is that of a solution that does not fit. Pure and cheap: the formulas are asked
    once for each ubatch that would be clearly faster.
    """
    policy, shape = problem.policy, solution.settings.shape
    if policy.n_ubatch is not None or solution.verdict != "fits" or not solution.devices:
        return solution  # a CPU works through its own memory anew for every few tokens
    most = min(policy.n_batch or N_UBATCHES[-1], shape.n_ctx)
    best, fastest = solution, _prompt_s(problem, solution, solution.settings, traffic)
    for n_ubatch in N_UBATCHES:
        if not DEFAULT_N_UBATCH < n_ubatch <= most:
            continue
        settings = with_n_ubatch(problem, solution, n_ubatch)
        seconds = _prompt_s(problem, solution, settings, traffic)
        if seconds * CLEARLY_FASTER > fastest:
            continue
        found = _in_place(problem, solution, settings)
        if found is None:
            break  # a larger one takes more
        best, fastest = found, seconds
    return best


def with_n_ubatch(problem: Problem, solution: Solution, n_ubatch: int) -> Settings:
    """The solution's settings with another ubatch, and a batch that holds it."""
    now = solution.settings
    policy = replace(
        problem.policy, n_ubatch=n_ubatch, type_k=now.shape.type_k, type_v=now.shape.type_v
    )
    other = settle(problem.model, problem.hardware, policy, n_ctx=now.shape.n_ctx)
    shape = replace(now.shape, n_ubatch=other.shape.n_ubatch)
    return replace(now, shape=shape, n_batch=other.n_batch)


def _in_place(problem: Problem, solution: Solution, settings: Settings) -> Solution | None:
    """The same placement with other settings, where it fits."""
    placement = solution.placement
    found = place(
        problem.on(solution.devices),
        settings,
        n_gpu_layers=placement.n_gpu_layers,
        n_host_experts=len(placement.host_expert_layers),
    )
    return found if found.verdict == "fits" and found.placement == placement else None


def _prompt_s(problem: Problem, solution: Solution, settings: Settings, traffic: Traffic) -> float:
    """Estimated seconds of a long prompt under some settings."""
    run = run_of(replace(solution, settings=settings), problem.hardware)
    n_prompt = min(N_PROMPT, settings.shape.n_ctx)
    return prefill_step(traffic, run, n_prompt=n_prompt).seconds
