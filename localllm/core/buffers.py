"""llama.cpp's buffers: what one device holds by its own count, and tensors put elsewhere by name.

Both cross the wire to the engine's child, which imports this and not the plan that holds them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferMemory:
    """llama.cpp's own memory breakdown of one device, or of ``host``, as it really allocated."""

    name: str
    model_bytes: int
    """Of a mapped file llama.cpp counts the span from the first to the last host tensor."""
    context_bytes: int
    compute_bytes: int
    mapped_bytes: int = 0
    """The part of ``model_bytes`` that is the mapped file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorOverride:
    """Tensors whose name matches ``pattern`` go to a buffer type (llama.cpp's ``-ot``)."""

    pattern: str
    buffer_type: str
