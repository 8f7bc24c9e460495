"""How a backend's devices behave where that moves bytes: alignment, streaming, copies.

One row per ggml backend, read from its source in the tree of llama-cpp-python 0.3.36
(``ggml/src/ggml-<backend>``). The formulas and the simulated devices of the dry run both ask here,
so that they cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from localllm.core.hardware import Backend, Device
from localllm.units import GiB

Rules = Literal["plain", "cuda", "metal", "vulkan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTraits:
    """What llama.cpp's allocator and scheduler see of a device, beside its memory."""

    alignment_bytes: int
    """Of every tensor in a buffer (``get_alignment``)."""
    row_padding: int = 1
    """Elements that rows of quantised tensors are padded to, once per tensor; 1: none."""
    streams_weights: bool = False
    """``offload_op``: prompt batches of 32 tokens and more copy host weights to the device."""
    host_buffer: bool = False
    """Pinned host memory: host weights without mmap and the inputs lie there, never repacked."""
    copies_quantised_kv: bool = False
    """Flash attention over a quantised cache makes an F16 copy of one layer's K and V."""
    pipelines: bool = False
    """Asynchronous with events: several such devices work on several batches at once."""
    max_buffer_bytes: int | None = None
    """Largest single buffer (``get_max_size``); weights and compute are cut into several."""
    rules: Rules = "plain"
    """Whose operations: what is computed, what takes more than its result, what pulls weights from
    RAM (``engine/backend_rules.py``)."""


_TRAITS: dict[Backend, DeviceTraits] = {
    "cuda": DeviceTraits(
        alignment_bytes=128,
        row_padding=512,
        streams_weights=True,
        host_buffer=True,
        copies_quantised_kv=True,
        pipelines=True,
        rules="cuda",
    ),
    "metal": DeviceTraits(alignment_bytes=32, streams_weights=True, pipelines=True, rules="metal"),
    "vulkan": DeviceTraits(
        alignment_bytes=64,
        streams_weights=True,
        host_buffer=True,
        pipelines=True,
        max_buffer_bytes=GiB,
        rules="vulkan",
    ),
    "rpc": DeviceTraits(
        alignment_bytes=128,
        row_padding=512,
        copies_quantised_kv=True,
        pipelines=True,
        rules="cuda",
    ),
}
"""ROCm is built from the CUDA sources. Vulkan's alignment is the driver's
(``minStorageBufferOffsetAlignment``): 64 bytes is usual, an estimate; its buffers are 1 GiB at most
(``suballocation_block_size``). Metal always keeps an F16 copy of one layer's K and V beside other
scratch space, whatever the cache's type. An RPC worker answers with its own device's sizes, here
those of a CUDA worker; it takes no part in streaming."""

_PLAIN = DeviceTraits(alignment_bytes=128)


def device_traits(device: Device) -> DeviceTraits:
    """Return the traits of a device's backend, of an unknown one the plainest."""
    backend: Backend = "cuda" if device.backend == "rocm" else device.backend
    traits = _TRAITS.get(backend, _PLAIN)
    if device.alignment_bytes is None:
        return traits
    return replace(traits, alignment_bytes=device.alignment_bytes)
