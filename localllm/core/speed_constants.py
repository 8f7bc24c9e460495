"""Constants of the speed formulas, as ``scripts/fit_speed.py --write`` writes them here.

Fitted to 1323 public measurements (``scripts/facts/throughput.jsonl``). Nothing
is of one card or model; ``scripts/_fit/parameters.py`` says what each constant means.
"""

from __future__ import annotations

from collections.abc import Mapping

CONSTANTS: Mapping[str, float] = {
    "decode cuda gddr weights": 1.03,
    "decode cuda hbm weights": 1.35,
    "decode cuda unified weights": 1.119,
    "decode rocm gddr weights": 1.372,
    "decode rocm hbm weights": 1.565,
    "decode rocm unified weights": 1.227,
    "decode vulkan weights": 1.231,
    "decode metal weights": 1.139,
    "decode cuda kv": 1.194,
    "decode rocm kv": 1.896,
    "decode vulkan kv": 1.458,
    "decode metal kv": 1.565,
    "decode gpu scores": 3.96,
    "decode vulkan unpack bf16 experts": 8.452,
    "decode gpu unpack legacy": 0.01007,
    "decode gpu unpack k": 0.03221,
    "decode gpu unpack i": 0.05065,
    "decode cuda matrices": 19470.0,
    "decode rocm matrices": 29533.0,
    "decode vulkan matrices": 22280.0,
    "decode metal matrices": 29012.0,
    "decode gpu crossing": 4.899e-05,
    "decode cpu weights": 1.675,
    "decode cpu latency": 1.161,
    "decode cpu unpack legacy": 0.7517,
    "decode cpu unpack k": 1.164,
    "decode cpu arm unpack k": 1.968,
    "decode cpu unpack i": 4.542,
    "decode cpu kv": 1.641,
    "decode cpu matrices": 23748.0,
    "decode cpu crossing": 7.936e-05,
    "prefill cuda matmul": 1.142,
    "prefill rocm matmul": 2.532,
    "prefill vulkan matmul": 1.814,
    "prefill metal matmul": 2.945,
    "prefill cuda matmul float": 1.03,
    "prefill cuda feed": 0.3,
    "prefill rocm matmul float": 1.997,
    "prefill vulkan matmul float": 2.002,
    "prefill metal matmul float": 1.295,
    "prefill rocm matmul bf16": 1.729,
    "prefill vulkan matmul bf16": 6.607,
    "prefill cuda attention": 4.018,
    "prefill rocm attention": 8.464,
    "prefill vulkan attention": 11.89,
    "prefill metal attention": 3.181,
    "prefill gpu scores": 3.055,
    "prefill gpu weights": 3.465,
    "prefill gpu kv": 1.357,
    "prefill gpu stream": 1.753,
    "prefill gpu matrices": 27906.0,
    "prefill cpu weights": 1.667,
    "prefill cpu matmul": 1.111,
    "prefill cpu matmul i": 2.591,
    "prefill cpu matmul float": 1.731,
    "prefill cpu attention": 1.957,
}
"""By ``regime class term``: seconds per second at the peak, or seconds per count."""

SPREADS: Mapping[str, tuple[float, float]] = {
    "decode AMD": (0.682, 1.14),
    "decode Apple": (0.8, 1.05),
    "decode CPU only": (0.651, 1.33),
    "decode dense offload": (0.541, 1.03),
    "decode expert offload": (0.555, 1.28),
    "decode one GPU": (0.871, 1.13),
    "decode several GPUs": (0.746, 1.14),
    "prefill AMD": (0.279, 1.67),
    "prefill Apple": (0.539, 1.67),
    "prefill CPU only": (0.523, 1.79),
    "prefill dense offload": (0.339, 1.67),
    "prefill expert offload": (0.737, 2.76),
    "prefill one GPU": (0.708, 1.85),
    "prefill several GPUs": (0.539, 1.67),
}
"""By ``regime kind``: the 80 % range as factors on the estimate, from the errors of
sources that were left out of the fit."""
