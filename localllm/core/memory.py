"""What memory is asked of and answered with: RunShape, Placement -> MemoryBreakdown.

The formulas lie beside this file, one function per term llama.cpp allocates: weights in
``weights.py``, KV cache and recurrent state in ``cache.py``, compute buffers in ``compute.py``;
what llama.cpp does not print is here for devices and in ``host_ram.py`` for the host;
``breakdown.py`` adds them up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, Self

from localllm.core.hardware import Device, Host
from localllm.core.model import ModelSpec
from localllm.core.weights import padded
from localllm.units import MiB

if TYPE_CHECKING:
    from localllm.core.traffic import Traffic

N_CTX_PADDING = 256
"""llama.cpp rounds the context up to this (``src/llama-context.cpp``)."""

CUDA_CONTEXT_BASE_BYTES = 8 * MiB
CUDA_CONTEXT_BYTES_PER_MULTIPROCESSOR = round(2.91 * MiB)
"""A CUDA context alone, by a line through what llama.cpp#23604 reports: 107 MiB on an RTX 4060 Ti
(34 multiprocessors), 555 MiB on an RTX PRO 6000 (188). Between them an RTX 3090 (82) shows 252 to
291 MiB less free than total before a load (llama.cpp#24608 and others), where the line says 247."""

CUDA_POOLS_BYTES = 75 * MiB
"""What the run itself takes beside its buffers: cuBLAS workspace, kernels' scratch pool, graphs. An
RTX 4090 (128 multiprocessors) ends with 451 to 456 MiB that llama.cpp cannot account for
(llama.cpp#15860), 75 MiB more than its context."""

CUDA_OVERHEAD_BYTES = 450 * MiB
"""Context and pools where the number of multiprocessors is not known: as an RTX 4090's."""

VULKAN_OVERHEAD_BYTES = 160 * MiB
"""Four loads on a laptop's RTX 3060 took 5 to 127 MiB more than their buffers, by nvidia-smi."""

OTHER_GPU_OVERHEAD_BYTES = 256 * MiB
"""Assumed for Metal, ROCm and RPC workers; an estimate without a measurement."""

GPU_OVERHEAD = "GPU context and pools"
"""What these terms are called in ``MemoryBreakdown.estimated``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunShape:
    """What a context is created with: everything that decides KV and compute buffers."""

    n_ctx: int
    n_ubatch: int
    type_k: str = "f16"
    type_v: str = "f16"
    flash_attn: bool = True
    n_seq: int = 1
    n_outputs_max: int = 1
    repack: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Which layers go where. Layers before ``first_gpu_layer`` stay on the host."""

    n_gpu_layers: int
    layers_per_device: tuple[int, ...]
    """Offloaded layers per device in use, the output layer counted as one."""
    host_expert_layers: frozenset[int] = frozenset()
    """Layers whose routed experts stay on the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTerms:
    """Bytes of one device, by llama.cpp's own kinds, plus what it does not print."""

    model_bytes: int
    context_bytes: int
    compute_bytes: int
    overhead_bytes: int
    mapped_bytes: int = 0

    @property
    def needed_bytes(self) -> int:
        """All terms together."""
        return self.model_bytes + self.context_bytes + self.compute_bytes + self.overhead_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBreakdown:
    """Every device in use, and the host. ``estimated`` names the terms that are upper estimates."""

    devices: tuple[DeviceTerms, ...]
    host: DeviceTerms
    estimated: tuple[str, ...]
    basis: Literal["exact", "formula"] = "formula"
    """``exact``: model, context and compute were counted by llama.cpp's own allocator."""


class MemorySource(Protocol):
    """Who the planner asks: the formulas, or llama.cpp's allocator in a child kept warm."""

    @property
    def model(self) -> ModelSpec:
        """The model that is placed."""
        ...

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices that a placement's layers are divided over, in llama.cpp's order."""
        ...

    @property
    def host(self) -> Host:
        """CPU and RAM beside them."""
        ...

    @property
    def formulas(self) -> Formulas:
        """The formulas for the same: a quick guide for a search that asks the engine."""
        ...

    def with_devices(self, devices: Sequence[Device]) -> Self:
        """Return the same model on other devices."""
        ...

    def breakdown(self, placement: Placement, shape: RunShape) -> MemoryBreakdown:
        """Bytes of every device and of the host under a placement."""
        ...


class Formulas(MemorySource, Protocol):
    """Formulas, which can leave out their costly part."""

    @property
    def traffic(self) -> Traffic:
        """What one step of the model touches, counted once."""
        ...

    def with_compute(self, known: MemoryBreakdown | None) -> Self:
        """Return the same with compute buffers taken from another answer, or left out.

        Quick, and close where layers are moved one by one.
        """
        ...


class ProvenMemory(MemorySource, Protocol):
    """llama.cpp's allocator: asked about a small header to search, about the true one to prove."""

    def begin_proof(self, placement: Placement, shape: RunShape) -> None:
        """Ask for a proof that is likely to be wanted, and return at once."""
        ...

    def proof(self, placement: Placement, shape: RunShape) -> MemoryBreakdown:
        """``breakdown`` over the model's full header, vocabulary included."""
        ...


def padded_n_ctx(n_ctx: int, *, n_seq: int = 1) -> int:
    """Context as llama.cpp allocates it: each sequence's share rounded up to 256 tokens."""
    return padded(-(-n_ctx // n_seq), N_CTX_PADDING) * n_seq


def output_buffer_bytes(model: ModelSpec, shape: RunShape) -> int:
    """Logits that llama.cpp hands out, ``[n_outputs, V]`` F32 on the host; not in its breakdown."""
    return 4 * model.n_vocab * max(shape.n_outputs_max, shape.n_seq)


def device_overhead_bytes(device: Device) -> int:
    """Context and pools of a device's backend: the device's own figure, else one per backend.

    CUDA's context holds the kernels' local memory and so grows with the multiprocessors.
    """
    if device.overhead_bytes is not None:
        return device.overhead_bytes
    if device.backend == "vulkan":
        return VULKAN_OVERHEAD_BYTES
    if device.backend != "cuda":
        return OTHER_GPU_OVERHEAD_BYTES
    if device.n_multiprocessors is None:
        return CUDA_OVERHEAD_BYTES
    grown = CUDA_CONTEXT_BYTES_PER_MULTIPROCESSOR * device.n_multiprocessors
    return CUDA_CONTEXT_BASE_BYTES + grown + CUDA_POOLS_BYTES
