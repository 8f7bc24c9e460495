"""The values of a choice: an option is one fixed choice worked out, a choice is what was taken.

What is compared of options is in ``preferences.py``, how they are found in ``choice_search.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.core.model import ModelSpec
from localllm.core.plan import CostEstimate, PowerEstimate, SpeedEstimate
from localllm.core.policy import Policy
from localllm.core.quality import Loss
from localllm.core.solution import Solution


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One fixed choice, planned and estimated by the formulas."""

    model: ModelSpec
    """In its quantisation."""
    policy: Policy
    """With ``quant``, ``type_k``, ``type_v``, ``n_ctx`` and ``n_ubatch`` definite."""
    solution: Solution
    loss: Loss
    """Of the weights and the KV cache together."""
    speed: SpeedEstimate | None
    """None, as power and cost, where it does not fit."""
    power: PowerEstimate | None
    cost: CostEstimate | None

    @property
    def fits(self) -> bool:
        """Whether every device and the host have room."""
        return self.solution.verdict == "fits"

    @property
    def n_ctx(self) -> int:
        """Context in tokens."""
        return self.solution.settings.shape.n_ctx

    @property
    def tok_s(self) -> float:
        """Estimated decode speed; 0 where it does not fit."""
        return self.speed.tg_tok_s if self.speed else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was taken, and what could be taken instead."""

    best: Option
    alternatives: tuple[Option, ...]
    """The Pareto front over quality, decode speed and context, the best quality first; ``best`` is
    among them. ``best`` alone where nothing fits, or where no alternatives were asked for."""
    n_considered: int
    """Fixed choices that were worked out, or proven worse."""
    reason: str
    """One sentence: why this one."""
    unmet: str | None
    """A wish (``min_tok_s``, ``max_j_per_token``) that nothing reaches, with what comes nearest."""
