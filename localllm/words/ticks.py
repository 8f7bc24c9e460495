"""Round values for the ticks of an axis, and how one is written."""

from __future__ import annotations

import math


def linear_ticks(most: float, n_steps: int = 5) -> tuple[float, ...]:
    """Return round values from 0 to at least ``most``, which is above 0; two steps or more."""
    step = 10.0 ** math.floor(math.log10(most / (n_steps - 1)))
    step *= next(n for n in (1, 2, 5, 10) if most / (step * n) <= n_steps)
    return tuple(step * i for i in range(math.ceil(most / step) + 1))


def tick_text(value: float) -> str:
    """Return ``1,024`` or ``0.5``."""
    return f"{value:,.10g}"
