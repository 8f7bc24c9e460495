"""The memory formulas: one function per term llama.cpp allocates -> MemoryBreakdown.

Weights and KV are exact for ordinary attention, sliding windows and latent attention. Compute
buffers follow formulas that were checked against llama.cpp's own dry runs on Llama-shaped models
(llama-cpp-python 0.3.36); for other shapes they are upper estimates, and the breakdown says so.
Notation: E = n_embd, V = n_vocab, ub = n_ubatch.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.core.ggml import row_bytes
from localllm.core.hardware import Device
from localllm.core.model import ModelSpec
from localllm.core.weights import padded
from localllm.units import MiB

N_CTX_PADDING = 256
"""llama.cpp rounds the context up to this (``src/llama-context.cpp``)."""

CUDA_OVERHEAD_BYTES = 450 * MiB
"""CUDA context, cuBLAS workspace and pools of one card beside llama.cpp's own sum: public load logs
show about 450 MiB; 107 to 555 MiB is the context alone, growing with the number of multiprocessors
(llama.cpp#23604)."""

OTHER_GPU_OVERHEAD_BYTES = 256 * MiB
"""Assumed for Metal, Vulkan and ROCm; an estimate."""

ENGINE_PROCESS_BYTES = 40 * MiB
VOCABULARY_BYTES_PER_TOKEN = 400
"""Resident memory of the engine's process beside weights, cache and compute: interpreter and
libraries, and the vocabulary. Measured on x86-64 Linux: 36 MiB with 400 tokens, about 83 MiB with
128,256 tokens and their merges."""

STREAMED_MARGIN = 1.25
"""Dry runs of streamed weights took 0.77 to 1.22 times layer + largest weight over ten shapes."""


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


def padded_n_ctx(n_ctx: int, *, n_seq: int = 1) -> int:
    """Context as llama.cpp allocates it: each sequence's share rounded up to 256 tokens."""
    return padded(-(-n_ctx // n_seq), N_CTX_PADDING) * n_seq


def kv_cells(model: ModelSpec, layer: int, shape: RunShape) -> int:
    """Cells of a block's cache: the context, or the window plus one batch (``swa_full`` off).

    ``src/llama-kv-cache-iswa.cpp``: PAD(min(n_ctx, n_swa + n_ubatch), 256) per sequence.
    """
    n_ctx = padded_n_ctx(shape.n_ctx, n_seq=shape.n_seq)
    if not (model.layers[layer].is_swa and model.n_swa):
        return n_ctx
    window = min(n_ctx // shape.n_seq, model.n_swa + shape.n_ubatch)
    return padded(window, N_CTX_PADDING) * shape.n_seq


def kv_layer_bytes(model: ModelSpec, layer: int, shape: RunShape) -> int:
    """Size of one block's cache: ``K [cells, n_embd_k_gqa]`` and ``V [cells, n_embd_v_gqa]``.

    Latent attention keeps K alone. Without flash attention V is stored transposed, its rows as wide
    as the widest layer's (``src/llama-kv-cache.cpp``).
    """
    block = model.layers[layer]
    state = recurrent_layer_bytes(model, shape) if block.is_recurrent else 0
    n_k = model.n_embd_k_gqa(layer) if block.has_kv else 0
    if n_k == 0:
        return state
    n_v = 0 if model.is_mla else model.n_embd_v_gqa(layer)
    if n_v and not shape.flash_attn:
        n_v = max(model.n_embd_v_gqa(i) for i in range(model.n_layer))
    cells = kv_cells(model, layer, shape)
    return state + cells * (row_bytes(shape.type_k, n_k) + row_bytes(shape.type_v, n_v))


def recurrent_layer_bytes(model: ModelSpec, shape: RunShape) -> int:
    """State of one recurrent block, F32 per sequence: convolution tail and SSM state.

    ``n_embd_r = (d_conv - 1) * (d_inner + 2 * n_group * d_state)`` and
    ``n_embd_s = d_state * d_inner`` (``src/llama-hparams.cpp``).
    """
    n_r = max(model.ssm_d_conv - 1, 0) * (
        model.ssm_d_inner + 2 * model.ssm_n_group * model.ssm_d_state
    )
    n_s = model.ssm_d_state * model.ssm_d_inner
    return 4 * shape.n_seq * (n_r + n_s)


def mask_bytes(shape: RunShape) -> int:
    """Attention mask ``[n_ctx, ub]``: F16 with flash attention, F32 without."""
    return (2 if shape.flash_attn else 4) * padded_n_ctx(shape.n_ctx) * shape.n_ubatch


def output_compute_bytes(model: ModelSpec, shape: RunShape) -> int:
    """Logits and the last hidden state: ``4 * (n_out * V + ub * E)``."""
    n_out = min(shape.n_ubatch, shape.n_outputs_max)
    return 4 * (n_out * model.n_vocab + shape.n_ubatch * model.n_embd)


def layer_compute_bytes(
    model: ModelSpec, layer: int, shape: RunShape, *, holds_first_layer: bool
) -> int:
    """Peak of one block's intermediate results, F32, mask included.

    ``4 * ub * (3 * n_ff + k * E) + mask`` with k = 3 where the first layer is on the device and KV
    is F16, else 2; without flash attention at least
    ``4 * ub * (n_head * n_ctx + 4 * E + n_embd_k_gqa + n_embd_v_gqa) + mask``. A mixture's experts
    add one row per expert used.
    """
    hparams = model.layers[layer]
    k = 3 if holds_first_layer and shape.type_k == shape.type_v == "f16" else 2
    width = 3 * hparams.n_ff + k * model.n_embd
    if model.n_expert_used:
        per_expert = 3 * model.n_ff_exp + 2 * model.n_embd
        width = max(width, model.n_expert_used * per_expert + (k + 1) * model.n_embd)
    peak = 4 * shape.n_ubatch * width
    if not shape.flash_attn:
        scores = hparams.n_head * padded_n_ctx(shape.n_ctx)
        rows = model.n_embd_k_gqa(layer) + model.n_embd_v_gqa(layer)
        peak = max(peak, 4 * shape.n_ubatch * (scores + 4 * model.n_embd + rows))
    return peak + mask_bytes(shape)


def host_input_bytes(model: ModelSpec, shape: RunShape) -> int:
    """Host buffer of a model that lies wholly on GPUs: ``8 * ub * E + mask`` (+ V's indices)."""
    rows = (
        0
        if shape.flash_attn
        else 8 * shape.n_ubatch * max(model.n_embd_v_gqa(i) for i in range(model.n_layer))
    )
    return 8 * shape.n_ubatch * model.n_embd + mask_bytes(shape) + rows


def output_buffer_bytes(model: ModelSpec, shape: RunShape) -> int:
    """Logits that llama.cpp hands out, ``[n_outputs, V]`` F32 on the host; not in its breakdown."""
    return 4 * model.n_vocab * max(shape.n_outputs_max, shape.n_seq)


def engine_process_bytes(model: ModelSpec) -> int:
    """Resident memory of the engine's process itself; an estimate from measurements."""
    return ENGINE_PROCESS_BYTES + VOCABULARY_BYTES_PER_TOKEN * model.n_vocab


def device_overhead_bytes(device: Device) -> int:
    """Context and pools of a device's backend: the device's own figure, else one per backend."""
    if device.overhead_bytes is not None:
        return device.overhead_bytes
    return CUDA_OVERHEAD_BYTES if device.backend == "cuda" else OTHER_GPU_OVERHEAD_BYTES


def pipelined(model: ModelSpec, placement: Placement) -> bool:
    """Whether llama.cpp works on several batches at once, which needs inputs in four copies.

    Several devices, every layer on them, no tensor overrides (``src/llama-context.cpp``).
    """
    n_devices = sum(1 for count in placement.layers_per_device if count)
    whole = placement.n_gpu_layers >= model.n_layer_total
    return n_devices > 1 and whole and not placement.host_expert_layers


def pipeline_copy_bytes(model: ModelSpec, shape: RunShape, *, first: bool) -> int:
    """What the copies add to a device: hidden states ``[E, ub]`` F32, and masks.

    Fitted to dry runs of 8B and 70B over two devices: 4 states and 3 masks on the first device, up
    to 8 and 5 on the others. An upper estimate elsewhere.
    """
    n_states, n_masks = (4, 3) if first else (8, 5)
    return n_states * 4 * shape.n_ubatch * model.n_embd + n_masks * mask_bytes(shape)


def pipeline_host_bytes(model: ModelSpec, shape: RunShape) -> int:
    """What the copies add to the host's inputs: three hidden states and three masks."""
    return 3 * (4 * shape.n_ubatch * model.n_embd + mask_bytes(shape))
