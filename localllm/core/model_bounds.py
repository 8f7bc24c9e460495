"""What no plan of a model can beat on a machine: its least bytes; its greatest speed by formula.

Whoever looks through many models asks here first, and plans only what is not ruled out.
"""

from __future__ import annotations

import math

from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.policy import Policy
from localllm.core.pricing import read_s_per_byte
from localllm.core.quality import Fragility
from localllm.core.quants import OFFERED, QUANTS
from localllm.core.rates import device_rates, host_rates

BYTES_MARGIN = 0.85
"""Of a quantisation's usual bits per weight: a model may have up to so many fewer."""

_LEAST_BITS = min(QUANTS[quant].bits_per_weight for quant in OFFERED)


def least_bytes_of(n_params: int) -> float:
    """Return what a model of so many parameters takes at least, in any quantisation on offer."""
    return BYTES_MARGIN * n_params * _LEAST_BITS / 8


def least_bytes(spec: ModelSpec, quant: str) -> float:
    """Return what a model's weights take at least in a quantisation."""
    if quant == spec.quant:
        return BYTES_MARGIN * spec.file_bytes
    return BYTES_MARGIN * spec.n_params * QUANTS[quant].bits_per_weight / 8


class Bounds:
    """What one machine holds, and how fast it reads."""

    def __init__(self, hardware: Hardware, policy: Policy, *, measured: bool = False) -> None:
        """``measured``: own measurements move the estimates, by any factor: no speed is a bound."""
        host, devices = hardware.host, hardware.usable_devices
        threads = policy.n_threads or host.n_threads_default
        self._host_s_per_byte = read_s_per_byte(host_rates(host, threads))
        self._gpu_s_per_byte = min(
            (read_s_per_byte(device_rates(d)) for d in devices), default=math.inf
        )
        self._measured = measured
        own = sum(d.free_bytes or d.total_bytes or 0 for d in devices if not d.unified)
        shared = max((d.free_bytes or d.total_bytes or 0 for d in devices if d.unified), default=0)
        self.vram_bytes = own + shared
        """Of all GPUs together."""
        self.room_bytes = own + max(host.available_bytes, shared)
        """Of all memory together; graphics that share the RAM add none."""

    def fastest(self, spec: ModelSpec, traits: Fragility, quant: str) -> float:
        """Tokens per second that no placement exceeds: reading the weights, and nothing else.

        What the GPUs cannot hold is read from RAM; of a mixture's experts as many as are used.
        """
        if self._measured:
            return math.inf
        total = least_bytes(spec, quant)
        embedding = spec.n_vocab * spec.n_embd  # a row of it is read, unless it is the output too
        active = total * max(traits.n_params_active - embedding, 0) / spec.n_params
        spilled = max(total - self.vram_bytes, 0.0)
        if traits.n_params_active < spec.n_params and spec.n_expert:
            spilled *= spec.n_expert_used / spec.n_expert
        spilled = min(spilled, active)
        quickest = min(self._gpu_s_per_byte, self._host_s_per_byte)
        seconds = spilled * self._host_s_per_byte + (active - spilled) * quickest
        return 1 / seconds if seconds else math.inf
