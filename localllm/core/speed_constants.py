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
    "decode gpu unpack k": 0.03222,
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
    "decode cpu matrices": 23749.0,
    "decode cpu crossing": 7.936e-05,
    "prefill cuda matmul": 0.9551,
    "prefill rocm matmul": 2.457,
    "prefill vulkan matmul": 1.401,
    "prefill metal matmul": 2.859,
    "prefill cuda matmul float": 1.03,
    "prefill cuda feed": 0.2772,
    "prefill rocm matmul float": 1.995,
    "prefill vulkan matmul float": 2.001,
    "prefill metal matmul float": 1.267,
    "prefill rocm matmul bf16": 1.593,
    "prefill vulkan matmul bf16": 6.237,
    "prefill cuda attention": 3.486,
    "prefill rocm attention": 8.247,
    "prefill vulkan attention": 12.02,
    "prefill metal attention": 3.062,
    "prefill gpu scores": 4.094,
    "prefill gpu weights": 3.436,
    "prefill gpu kv": 1.03,
    "prefill gpu stream": 1.837,
    "prefill gpu matrices": 29183.0,
    "prefill cpu weights": 1.598,
    "prefill cpu matmul": 1.036,
    "prefill cpu matmul i": 2.515,
    "prefill cpu matmul float": 1.577,
    "prefill cpu attention": 2.01,
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
    "prefill AMD": (0.3, 1.69),
    "prefill Apple": (0.509, 1.69),
    "prefill CPU only": (0.525, 1.86),
    "prefill dense offload": (0.193, 1.69),
    "prefill expert offload": (0.568, 3.09),
    "prefill one GPU": (0.772, 1.81),
    "prefill several GPUs": (0.509, 1.69),
}
"""By ``regime kind``: the 80 % range as factors on the estimate, from the errors of
sources that were left out of the fit."""
