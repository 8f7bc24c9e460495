"""The values of the inverse of a plan: what is wished for, one change, and all that was found.

What is tried is in ``target_search.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from localllm.core.hardware import Hardware
from localllm.core.option import Option
from localllm.core.policy import Policy
from localllm.units import format_stated

StepKind = Literal["settings", "quantisation", "cards", "RAM", "machine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is wished for: a decode speed, or energy per token."""

    tok_s: float | None = None
    j_per_token: float | None = None

    def __str__(self) -> str:
        """Return it as a person would write it: ``20 tok/s``."""
        if self.tok_s is not None:
            return f"{format_stated(self.tok_s)} tok/s"
        assert self.j_per_token is not None
        return f"{format_stated(self.j_per_token)} J/token"

    def wished_of(self, policy: Policy) -> Policy:
        """Return a policy with the target among its wishes."""
        if self.tok_s is not None:
            return replace(policy, min_tok_s=self.tok_s)
        return replace(policy, max_j_per_token=self.j_per_token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change that reaches the target, worked out."""

    kind: StepKind
    change: str
    option: Option
    hardware: Hardware


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Whether a target is reached, what is missing, and what would reach it."""

    target: Target
    reached: bool
    now: Option
    missing: str
    """One sentence."""
    steps: tuple[Step, ...]
    """The least change first; empty where the target is reached, or where nothing known does."""
    nearest: Step | None = None
    """What comes nearest where no step reaches it."""
