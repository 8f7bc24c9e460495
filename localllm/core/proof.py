"""The engine's figures beside the formulas': where they differ, a formula has a bug to mend."""

from __future__ import annotations

from localllm.core.memory import DeviceTerms, MemoryBreakdown, MemorySource
from localllm.core.plan import Difference
from localllm.core.solution import Solution

_TERMS = ("model_bytes", "context_bytes", "compute_bytes")


def differences(formulas: MemorySource, solution: Solution) -> tuple[Difference, ...]:
    """Return every term that llama.cpp's allocator counts otherwise than the formulas do.

    Empty for a solution that the formulas made themselves.
    """
    if solution.memory.basis != "exact":
        return ()
    formula = formulas.with_devices(solution.devices).breakdown(
        solution.placement, solution.settings.shape
    )
    names = [row.name for row in solution.rows]
    pairs = zip(names, _all_terms(formula), _all_terms(solution.memory), strict=True)
    return tuple(
        Difference(
            device=name,
            term=term.removesuffix("_bytes"),
            formula_bytes=getattr(ours, term),
            engine_bytes=getattr(engines, term),
        )
        for name, ours, engines in pairs
        for term in _TERMS
        if getattr(ours, term) != getattr(engines, term)
    )


def _all_terms(breakdown: MemoryBreakdown) -> tuple[DeviceTerms, ...]:
    return (*breakdown.devices, breakdown.host)
