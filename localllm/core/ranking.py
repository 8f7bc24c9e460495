"""Which of several placements decodes faster, where memory allows them all."""

from __future__ import annotations

import math
from dataclasses import replace

from localllm.core import rates
from localllm.core.estimate import run_of
from localllm.core.memory import Placement
from localllm.core.placing import Problem
from localllm.core.settings import Settings
from localllm.core.solution import Solution
from localllm.core.speed import decode_step
from localllm.core.steps import Run


def decode_s(problem: Problem, solution: Solution) -> float:
    """Estimated seconds of one token under a solution, at the depth asked for."""
    return _seconds(problem, run_of(solution, problem.hardware))


def cpu_is_faster(problem: Problem, settings: Settings, solution: Solution) -> bool:
    """Whether the CPU alone would decode faster than a solution with GPUs.

    Only where its memory is faster than a GPU's. What is left is a model of some megabytes, which
    launches rule: that lies where the person has put a card for it.
    """
    slowest = min(map(rates.bandwidth, solution.devices), default=math.inf)
    if rates.host_bandwidth(problem.hardware.host) <= slowest:
        return False
    run = replace(
        run_of(solution, problem.hardware),
        devices=(),
        placement=Placement(n_gpu_layers=0, layers_per_device=()),
        n_threads=settings.n_threads,
    )
    return _seconds(problem, run) < decode_s(problem, solution)


def _seconds(problem: Problem, run: Run) -> float:
    depth = min(problem.policy.depth, run.shape.n_ctx - 1)
    return decode_step(problem.memory.formulas.traffic, run, depth=depth).seconds
