"""What is said of an answer: why it ended, and the figures under it."""

from __future__ import annotations

from localllm.core.generation import FinishReason, RunStats
from localllm.core.joules import AnswerEnergy
from localllm.core.plan import Plan
from localllm.core.prediction import predicted
from localllm.records.export import CUT
from localllm.units import format_duration, format_rate
from localllm.words.energy_lines import footer_piece
from localllm.words.figures import rate, short_duration


def footer(
    stats: RunStats | None, energy: AnswerEnergy | None, plan: Plan | None = None
) -> str | None:
    """Return the figures under an answer, the plan's estimate beside them; None without any."""
    if stats is None:
        return None
    parts = (
        f"{stats.n_gen:,} token{'s' * (stats.n_gen != 1)}",
        f"{rate(stats.tg_tok_s)} tok/s{_estimated(stats, plan)}",
        footer_piece(stats, energy, plan),
        f"first after {short_duration(stats.ttft_s)}",
    )
    return " · ".join(part for part in parts if part)


def kept_footer(stats: RunStats | None, finish_reason: str | None) -> str | None:
    """Return the line under an answer of an earlier time: what was measured, and why it was cut."""
    parts = (CUT.get(finish_reason or ""), footer(stats, None))
    return " · ".join(part for part in parts if part) or None


def ending(reason: FinishReason | None, *, max_tokens: int | None, n_ctx: int | None) -> str | None:
    """Return why an answer ended, where that is not the model's own end.

    ``max_tokens``: what it was asked with; ``n_ctx``: None where nothing is loaded.
    """
    if reason == "cancelled":
        return "stopped"
    if reason == "length":
        return f"cut at max_tokens {max_tokens}"
    if reason == "context_full":
        return f"the context is full ({'all' if n_ctx is None else f'{n_ctx:,}'} tokens)"
    return None


def thought_words(seconds: float, n_tokens: int) -> str:
    """Return how long reasoning took: ``9.90 s · 100 tokens``."""
    return f"{format_duration(seconds)} · {n_tokens:,} tokens"


def _estimated(stats: RunStats, plan: Plan | None) -> str:
    """The estimate for this answer, at its depth, in brackets."""
    if plan is None or stats.tg_tok_s is None:
        return ""
    estimate = predicted(plan, "tg", n_tokens=stats.n_gen - 1, depth=stats.n_prompt)
    if estimate is None:
        return ""
    low, high = (format_rate(end, digits=2) for end in (estimate.low, estimate.high))
    return f" (estimated {format_rate(estimate.tok_s)}, range {low} to {high})"
