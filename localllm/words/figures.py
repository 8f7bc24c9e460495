"""Figures as every shell writes them: what is not known is a dash, never a zero."""

from __future__ import annotations

from localllm.units import format_duration


def rate(tok_s: float | None) -> str:
    """Return tokens per second with three digits, or a dash."""
    if tok_s is None:
        return "–"
    return f"{tok_s:,.0f}" if tok_s >= 100 else f"{tok_s:.1f}" if tok_s >= 10 else f"{tok_s:.2f}"


def short_duration(seconds: float) -> str:
    """Return a duration, in milliseconds below a second."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else format_duration(seconds)
