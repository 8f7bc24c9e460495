"""Fitted constants of the speed formulas. Written by ``scripts/fit_speed.py``; do not edit."""

from __future__ import annotations

from collections.abc import Mapping

CONSTANTS: Mapping[str, float] = {
    "decode gpu weights": 1.15,
    "decode gpu kv": 1.3,
    "decode gpu matrices": 5e-6,
    "decode gpu crossing": 5e-5,
    "decode cpu weights": 1.3,
    "decode cpu kv": 1.5,
    "decode cpu crossing": 1e-4,
    "prefill gpu matmul": 4.0,
    "prefill gpu experts": 8.0,
    "prefill gpu attention": 4.0,
    "prefill gpu weights": 1.2,
    "prefill gpu stream": 1.3,
    "prefill cpu matmul": 0.3,
    "prefill cpu experts": 0.3,
    "prefill cpu attention": 1.0,
    "prefill cpu weights": 1.3,
}
"""By ``regime class term``: seconds per second at the peak, or seconds per count."""

SPREADS: Mapping[str, tuple[float, float]] = {
    f"{regime} {kind}": (0.7, 1.3)
    for regime in ("decode", "prefill")
    for kind in (
        "one GPU",
        "several GPUs",
        "CPU only",
        "dense offload",
        "expert offload",
        "Apple",
        "AMD",
    )
}
"""By ``regime kind``: what the 80 % range is of the estimate."""
