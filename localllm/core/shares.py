"""How llama.cpp divides layers by the shares of ``--tensor-split``, to the last layer.

Layer ``k`` of ``n`` goes to the first device whose cumulative share exceeds ``k / n``, in single
precision (``load_tensors``, ``src/llama-model.cpp:1560-1600``). Shares that are whole layers come
back as they are: ``k / n`` and ``m / n`` differ by far more than a float's last bit, and equal
numbers are equal.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate


def layers_by_shares(n_layers: int, shares: Sequence[float]) -> tuple[int, ...]:
    """Return how many of ``n_layers`` each device gets, the output layer counted as one.

    ``shares`` are 0 or more and not all 0.
    """
    sums = list(accumulate(map(_single, shares), lambda a, b: _single(a + b)))
    borders = [_single(running / sums[-1]) for running in sums]
    counts = [0] * len(shares)
    for layer in range(n_layers):
        position = _single(layer / n_layers)
        counts[next(i for i, border in enumerate(borders) if border > position)] += 1
    return tuple(counts)


def _single(value: float) -> float:
    """Round to single precision."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded
