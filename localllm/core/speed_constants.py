"""Constants of the speed formulas, as ``scripts/fit_speed.py --write`` writes them here.

Fitted to 1071 public measurements (``scripts/facts/throughput.jsonl``). Nothing
is of one card or model; ``scripts/_fit/parameters.py`` says what each constant means.
"""

from __future__ import annotations

from collections.abc import Mapping

CONSTANTS: Mapping[str, float] = {
    "decode cuda gddr weights": 1.03,
    "decode cuda hbm weights": 1.328,
    "decode cuda unified weights": 1.124,
    "decode rocm gddr weights": 1.344,
    "decode rocm hbm weights": 1.541,
    "decode rocm unified weights": 1.216,
    "decode vulkan weights": 1.229,
    "decode metal weights": 1.301,
    "decode cuda kv": 1.18,
    "decode rocm kv": 1.892,
    "decode vulkan kv": 1.466,
    "decode metal kv": 1.506,
    "decode gpu scores": 3.951,
    "decode vulkan unpack bf16": 0.1061,
    "decode gpu unpack legacy": 0.005003,
    "decode gpu unpack k": 0.01418,
    "decode gpu unpack i": 0.05112,
    "decode cuda matrices": 18179.0,
    "decode rocm matrices": 29185.0,
    "decode vulkan matrices": 21608.0,
    "decode metal matrices": 18019.0,
    "decode gpu crossing": 4.905e-05,
    "decode cpu weights": 1.675,
    "decode cpu latency": 0.4286,
    "decode cpu unpack legacy": 0.5843,
    "decode cpu unpack k": 0.6957,
    "decode cpu unpack i": 3.896,
    "decode cpu kv": 1.534,
    "decode cpu matrices": 34194.0,
    "decode cpu crossing": 9.131e-05,
    "prefill cuda matmul": 0.8921,
    "prefill rocm matmul": 2.324,
    "prefill vulkan matmul": 0.9238,
    "prefill metal matmul": 2.57,
    "prefill cuda matmul float": 1.03,
    "prefill cuda feed": 0.2829,
    "prefill rocm matmul float": 1.992,
    "prefill vulkan matmul float": 2.002,
    "prefill metal matmul float": 1.107,
    "prefill rocm matmul bf16": 1.269,
    "prefill vulkan matmul bf16": 5.7,
    "prefill cuda attention": 2.762,
    "prefill rocm attention": 7.448,
    "prefill vulkan attention": 11.81,
    "prefill metal attention": 3.134,
    "prefill gpu scores": 1.686,
    "prefill gpu weights": 2.506,
    "prefill gpu kv": 1.413,
    "prefill gpu stream": 2.083,
    "prefill gpu matrices": 21911.0,
    "prefill cpu weights": 1.391,
    "prefill cpu matmul": 0.9573,
    "prefill cpu matmul i": 2.598,
    "prefill cpu matmul float": 0.8,
    "prefill cpu attention": 1.499,
}
"""By ``regime class term``: seconds per second at the peak, or seconds per count."""

SPREADS: Mapping[str, tuple[float, float]] = {
    "decode AMD": (0.616, 1.12),
    "decode Apple": (0.814, 1.16),
    "decode CPU only": (0.571, 1.48),
    "decode dense offload": (0.784, 1.14),
    "decode expert offload": (0.784, 1.3),
    "decode one GPU": (0.856, 1.14),
    "decode several GPUs": (0.791, 1.1),
    "prefill AMD": (0.334, 1.69),
    "prefill Apple": (0.497, 1.23),
    "prefill CPU only": (0.753, 1.4),
    "prefill dense offload": (0.209, 1.87),
    "prefill expert offload": (0.49, 2.86),
    "prefill one GPU": (0.678, 2.21),
    "prefill several GPUs": (0.575, 1.87),
}
"""By ``regime kind``: the 80 % range as factors on the estimate, from the errors of
sources that were left out of the fit."""
