"""Compute buffers: the peak of a graph's intermediate results on a device and on the host.

Checked against llama.cpp's own dry runs on Llama-shaped models (llama-cpp-python 0.3.36); for other
shapes they are upper estimates, and the breakdown says so. E = n_embd, V = n_vocab, ub = n_ubatch.
"""

from __future__ import annotations

from localllm.core.memory import Placement, RunShape, padded_n_ctx
from localllm.core.model import ModelSpec

STREAMED_MARGIN = 1.25
"""Dry runs of streamed weights took 0.77 to 1.22 times layer + largest weight over ten shapes."""


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
