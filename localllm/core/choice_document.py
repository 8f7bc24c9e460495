"""What ``localllm.plan/1`` says of a choice, and of a target: plain dictionaries, names fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from localllm.core.comparison import option_document
from localllm.core.option import Choice, Option
from localllm.core.policy import Policy
from localllm.core.target import Reach, Step


def choice_document(choice: Choice, policy: Policy) -> dict[str, Any]:
    """Return why a choice was made, by which preference, and what it loses."""
    best = choice.best
    return {
        "quant": best.model.quant,
        "type_k": best.policy.type_k,
        "type_v": best.policy.type_v,
        "prefer": policy.prefer,
        "min_tok_s": policy.min_tok_s,
        "max_j_per_token": policy.max_j_per_token,
        "n_considered": choice.n_considered,
        "reason": choice.reason,
        "unmet": choice.unmet,
        "loss": asdict(best.loss),
    }


def alternatives_document(options: Sequence[Option], chosen: Option | None) -> list[dict[str, Any]]:
    """Return the front, option by option; ``chosen`` marks the one that the plan is for."""
    return [
        {
            "chosen": option is chosen,
            "verdict": option.solution.verdict,
            **option_document(option),
        }
        for option in options
    ]


def target_document(reach: Reach) -> dict[str, Any]:
    """Return whether a target is reached, and the changes that would reach it."""
    return {
        "tok_s": reach.target.tok_s,
        "j_per_token": reach.target.j_per_token,
        "reached": reach.reached,
        "missing": reach.missing,
        "steps": [_step(step) for step in reach.steps],
        "nearest": _step(reach.nearest) if reach.nearest else None,
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "kind": step.kind,
        "change": step.change,
        "hardware": step.hardware.name,
        **option_document(step.option),
    }
