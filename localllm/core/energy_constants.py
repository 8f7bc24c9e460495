"""Fitted constants of the power formulas. Written by ``scripts/fit_power.py``."""

from __future__ import annotations

from collections.abc import Mapping

CONSTANTS: Mapping[str, float] = {
    "apple limit_w_per_tflops": 9.72,
    "cap decode": 1.18,
    "cap floor": 0.216,
    "cap prefill": 1.62,
    "gddr arithmetic": 0.404,
    "gddr awake": 0.305,
    "gddr idle": 0.0654,
    "gddr limit_w_per_gb_s": 0.384,
    "gddr watts_per_gb_s": 0.285,
    "hbm arithmetic": 0.242,
    "hbm awake": 0.0795,
    "hbm idle": 0.137,
    "hbm limit_w_per_gb_s": 0.171,
    "hbm watts_per_gb_s": 0.141,
    "high": 1.31,
    "low": 0.674,
    "unified arithmetic": 1,
    "unified awake": 0.0795,
    "unified idle": 0.0286,
    "unified limit_w_per_gb_s": 0.513,
    "unified watts_per_gb_s": 0.13,
}
"""By ``class term``. ``awake``, ``arithmetic``: shares of the way from idle to the limit, the
latter per FP32 peak; ``watts_per_gb_s``: of memory traffic; ``idle``: share of the limit. ``cap``:
its floor as such a share, and exponents. ``low``, ``high``: 80 % range of a board's watts, as
factors."""
