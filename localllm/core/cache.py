"""KV cache and recurrent state of one block: the context's bytes, exact.

``src/llama-kv-cache*.cpp`` and ``src/llama-memory-recurrent.cpp`` in the tree of llama-cpp-python
0.3.36.
"""

from __future__ import annotations

from localllm.core.ggml import row_bytes
from localllm.core.memory import N_CTX_PADDING, RunShape, padded_n_ctx
from localllm.core.model import ModelSpec
from localllm.core.weights import padded


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
