"""How a backend's devices behave where that moves bytes: alignment, streaming, copies.

One row per ggml backend, read from its source in the tree of llama-cpp-python 0.3.36
(``ggml/src/ggml-<backend>``). The formulas and the simulated devices of the dry run both ask here,
so that they cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from localllm.core.hardware import Backend, Device


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


_TRAITS: dict[Backend, DeviceTraits] = {
    "cuda": DeviceTraits(
        alignment_bytes=128,
        row_padding=512,
        streams_weights=True,
        host_buffer=True,
        copies_quantised_kv=True,
        pipelines=True,
    ),
    "metal": DeviceTraits(alignment_bytes=32, streams_weights=True, pipelines=True),
    "vulkan": DeviceTraits(
        alignment_bytes=64, streams_weights=True, host_buffer=True, pipelines=True
    ),
    "rpc": DeviceTraits(alignment_bytes=128, row_padding=512, pipelines=True),
}
"""ROCm is built from the CUDA sources. Vulkan's alignment is the driver's
(``minStorageBufferOffsetAlignment``): 64 bytes is usual, an estimate. An RPC worker answers
with its own device's sizes, here those of a CUDA worker."""

_PLAIN = DeviceTraits(alignment_bytes=128)


def device_traits(device: Device) -> DeviceTraits:
    """Return the traits of a device's backend, of an unknown one the plainest."""
    backend: Backend = "cuda" if device.backend == "rocm" else device.backend
    traits = _TRAITS.get(backend, _PLAIN)
    if device.alignment_bytes is None:
        return traits
    return replace(traits, alignment_bytes=device.alignment_bytes)
