"""Memory of one device as llama.cpp itself counts it, measured or asked of its allocator."""

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
