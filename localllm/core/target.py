"""The inverse of a plan: what is missing for a wished speed, and the least change that reaches it.

What is tried, and in which order, is in ``target_search.py``: each change is planned for real, what
reaches the target is a step, and the first step is the least change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.option import Option
from localllm.core.policy import Policy
from localllm.core.preferences import merits
from localllm.core.target_search import TargetSearch
from localllm.core.target_values import Reach, Step, Target
from localllm.errors import UsageError
from localllm.units import (
    ENERGY_UNITS,
    RATE_UNITS,
    format_bytes,
    format_rate,
    format_stated,
    parse_amount,
)

if TYPE_CHECKING:
    from localllm.core.calibration import Calibration

__all__ = ["Reach", "Step", "Target", "parse_target", "reach"]


def parse_target(text: str) -> Target:
    """Read ``20tok/s``, ``20 t/s``, ``20`` or ``0.5 J/token``.

    Raises UsageError with what is possible for anything else, and for what is not above 0.
    """
    energies = {unit: factor for unit, factor in ENERGY_UNITS.items() if unit}
    tok_s, j_per_token = parse_amount(text, RATE_UNITS), parse_amount(text, energies)
    amount = tok_s if j_per_token is None else j_per_token
    if amount is None:
        raise UsageError(
            f'"{text[:40]}" is no target that can be planned for.',
            hint="Write a decode speed (20tok/s) or an energy per token (0.5J/token).",
        )
    if not (math.isfinite(amount) and amount > 0):
        raise UsageError(f'"{text[:40]}" is not above 0.', hint="Write 20tok/s or 0.5J/token.")
    return Target(tok_s=tok_s, j_per_token=j_per_token)


def reach(
    models: Sequence[ModelSpec],
    hardware: Hardware,
    policy: Policy,
    target: Target,
    *,
    now: Option,
    machines: Sequence[Hardware] = (),
    calibration: Calibration | None = None,
    on_machine: Callable[[str], None] | None = None,
) -> Reach:
    """Say what is missing for a target, and which changes reach it.

    ``models``: one model in the quantisations on offer; ``now``: what would be run without the
    target; ``machines``: others to look at; ``calibration``: what was measured on
    ``hardware``; ``on_machine`` is told which machine is looked at.
    """
    wish = target.wished_of(policy)
    search = TargetSearch(models, hardware, wish, now, calibration, on_machine)
    if search.meets(now):
        return Reach(
            target=target,
            reached=True,
            now=now,
            missing="Nothing: the target is reached.",
            steps=(),
        )
    steps = tuple(search.steps(machines))
    nearest = None if steps else search.nearest(machines)
    if nearest is not None and search.meets(nearest.option):
        steps = (nearest,)  # another quantisation on another machine
    return Reach(
        target=target,
        reached=False,
        now=now,
        missing=_missing(now, target),
        steps=steps,
        nearest=None if steps else nearest,
    )


def _missing(now: Option, target: Target) -> str:
    """What is missing, and what stands in the way."""
    it = merits(now, now.policy)
    if not it.fits:
        return f"It does not fit: {format_bytes(it.missing_bytes)} of memory are missing."
    assert now.speed is not None
    placement, model = now.solution.placement, now.model
    in_ram = model.n_layer_total - placement.n_gpu_layers
    n_experts = len(placement.host_expert_layers)
    where = f"bound by {now.speed.bound_by}"
    if placement.n_gpu_layers and in_ram:
        where += f", with {in_ram} of {model.n_layer_total} layers in RAM"
    if n_experts:
        where += f", with the experts of {n_experts} of {model.n_layer} layers in RAM"
    if target.tok_s is not None:
        times = target.tok_s / it.tok_s
        return (
            f"{format_rate(it.tok_s)} of {target}: {format_rate(times, digits=2)} times as fast is "
            f"wanted; {where}."
        )
    if it.j_per_token is None:
        return "What this hardware draws is not known, so nor is the energy of a token."
    assert target.j_per_token is not None
    wanted = format_stated(target.j_per_token)
    return f"{format_rate(it.j_per_token)} J/token, and {wanted} are wanted; {where}."
