"""The choices that a policy leaves open, one by one: quantisation x KV types.

Nothing is planned or ranked here. The context is the policy's; where layers lie is the planner's,
and what is computed at once is decided in ``batches.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from localllm.core.model import ModelSpec
from localllm.core.policy import KV_CHOICES, Policy
from localllm.errors import UsageError

_OPEN = (None, "auto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One choice, before it is planned."""

    index: int
    """Of the model among those on offer."""
    model: ModelSpec
    policy: Policy
    """With ``quant`` and KV types definite."""


def candidates(models: Sequence[ModelSpec], policy: Policy) -> tuple[Candidate, ...]:
    """Return every choice that the policy allows, models in the order given, dense caches last.

    Raises UsageError where no model has the quantisation that was asked for.
    """
    on_offer = [
        (index, model)
        for index, model in enumerate(models)
        if policy.quant is None or model.quant.upper() == policy.quant.upper()
    ]
    if not on_offer:
        raise UsageError(
            f"{policy.quant} is not among the quantisations on offer."
            if models
            else "There is no quantisation to choose from.",
            hint=f"On offer are {', '.join(m.quant for m in models)}." if models else None,
        )
    return tuple(
        Candidate(
            index=index,
            model=model,
            policy=replace(policy, quant=model.quant, type_k=type_k, type_v=type_v),
        )
        for index, model in on_offer
        for type_k, type_v in kv_pairs(policy)
    )


def kv_pairs(policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield the types of K and V to choose from, the best quality first.

    Where neither is fixed, equal pairs: GPUs have fast kernels for those only. Where one is fixed,
    the other is f16 unless it was left open in so many words (``auto``).
    """
    type_k, type_v = policy.type_k, policy.type_v
    if type_k in _OPEN and type_v in _OPEN:
        yield from ((each, each) for each in KV_CHOICES)
        return
    for k in KV_CHOICES if type_k == "auto" else (type_k or "f16",):
        for v in KV_CHOICES if type_v == "auto" else (type_v or "f16",):
            yield k, v
