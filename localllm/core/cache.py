"""KV cache and recurrent state of one block: which tensors llama.cpp makes for it, exact.

``create_memory`` (``src/llama-model.cpp:2352``) chooses one of ten classes of memory; what each
makes for one block is here: ``src/llama-kv-cache*.cpp``, ``src/llama-memory-*.cpp`` in the tree of
llama-cpp-python 0.3.36. Which blocks have what is the model's (``LayerHparams``). The engine runs
with ``swa_full`` and ``kv_unified`` off: each sequence has its own stream of cells.
"""

from __future__ import annotations

from typing import NamedTuple

from localllm.core.ggml import TYPES_BY_NAME, row_bytes
from localllm.core.memory import N_CTX_PADDING, RunShape, padded_n_ctx
from localllm.core.model import ModelSpec
from localllm.core.recurrent import n_embd_r, n_embd_s
from localllm.core.weights import HOST_ALIGNMENT_BYTES, allocated_bytes, padded

_COMPRESSED = 4, 128
"""DeepSeek V4: tokens per cell of the second cache (CSA and HCA, ``llama-kv-cache-dsv4.h``)."""


class CacheTensor(NamedTuple):
    """One tensor of a block's memory."""

    type: str
    width: int
    """Row length in elements."""
    n_rows: int

    @property
    def n_bytes(self) -> int:
        """Size of its data."""
        return row_bytes(self.type, self.width) * self.n_rows


def kv_layer_bytes(
    model: ModelSpec,
    layer: int,
    shape: RunShape,
    *,
    alignment_bytes: int = HOST_ALIGNMENT_BYTES,
    row_padding: int = 1,
) -> int:
    """Size of one block's cache and state in one kind of buffer, in bytes."""
    return sum(
        allocated_bytes(
            tensor.type,
            tensor.width,
            tensor.n_bytes,
            alignment_bytes=alignment_bytes,
            row_padding=row_padding,
        )
        for tensor in cache_tensors(model, layer, shape)
    )


def cache_tensors(model: ModelSpec, layer: int, shape: RunShape) -> tuple[CacheTensor, ...]:
    """Every tensor that the memory of one block consists of."""
    block = model.layers[layer]
    tensors: tuple[CacheTensor, ...] = ()
    if block.has_kv:
        tensors += _keys_and_values(model, layer, shape)
    if block.has_indexer:
        tensors += _indexer_keys(model, shape)
    if block.compress_ratio:
        tensors += _compressed(model, layer, shape)
    if block.is_recurrent and layer < model.n_layer_main:
        tensors += _state(model, layer, shape)
    return tensors


def uses_flash_attn(model: ModelSpec, shape: RunShape) -> bool:
    """Whether flash attention is really on: llama.cpp forces it off for Grok.

    ``src/llama-context.cpp:3819``.
    """
    return shape.flash_attn and model.arch != "grok"


def cache_refusal(model: ModelSpec, shape: RunShape) -> str | None:
    """Why llama.cpp would not make this cache, as a sentence; None where it would.

    ``llama_init_from_model`` (``src/llama-context.cpp:3835-3870``): a compressed cache has one
    type; quantised V needs flash attention; whole blocks of a quantised type must divide the head.
    """
    same = shape.type_k == shape.type_v
    if not same and (model.is_mla or model.arch == "deepseek4"):
        return f"{model.name} caches K and V in one row: their types must be the same."
    if TYPES_BY_NAME[shape.type_v].quantised and not uses_flash_attn(model, shape):
        return f"A {shape.type_v} cache for V needs flash attention."
    for layer in range(model.n_layer_main):
        for name, type_, width in _divided(model, layer, shape):
            if width % TYPES_BY_NAME[type_].block:
                return f"{width} elements are not whole blocks of {type_}, the type of {name}."
    return None


def _divided(
    model: ModelSpec, layer: int, shape: RunShape
) -> tuple[tuple[str, str, int], tuple[str, str, int]]:
    """What must be whole blocks: each head with flash attention, else the row of K.

    Without flash attention llama.cpp does not check, but cannot make rows of broken blocks.
    """
    block = model.layers[layer]
    if not uses_flash_attn(model, shape):
        n_k = model.n_embd_k_gqa(layer) if block.has_kv else 0
        return ("K", shape.type_k, n_k), ("V", shape.type_v, 0)
    k = (model.n_embd_head_k_swa if block.is_swa else 0) or model.n_embd_head_k
    v = (model.n_embd_head_v_swa if block.is_swa else 0) or model.n_embd_head_v
    return ("K", shape.type_k, k), ("V", shape.type_v, v)


def kv_cells(model: ModelSpec, layer: int, shape: RunShape) -> int:
    """Cells of a block's cache: the context, or the window plus one batch, for every sequence.

    ``src/llama-kv-cache-iswa.cpp:73``: PAD(min(n_ctx_seq, n_swa + n_ubatch), 256).
    """
    n_ctx = padded_n_ctx(shape.n_ctx, n_seq=shape.n_seq)
    if not (model.layers[layer].is_swa and model.swa_type != "none"):
        return n_ctx
    window = min(n_ctx // shape.n_seq, model.n_swa + shape.n_ubatch)
    return padded(window, N_CTX_PADDING) * shape.n_seq


def _keys_and_values(model: ModelSpec, layer: int, shape: RunShape) -> tuple[CacheTensor, ...]:
    """``K [cells, n_embd_k_gqa]`` and ``V [cells, n_embd_v_gqa]`` (``llama-kv-cache.cpp:206``).

    Latent attention keeps K alone, and so does DeepSeek V4. Without flash attention V is stored
    transposed, its rows as wide as the widest block's.
    """
    cells = kv_cells(model, layer, shape)
    k = CacheTensor(shape.type_k, model.n_embd_k_gqa(layer), cells)
    if model.is_mla or model.arch == "deepseek4":
        return (k,)
    n_v = model.n_embd_v_gqa(layer)
    if not uses_flash_attn(model, shape):
        n_v = max(model.n_embd_v_gqa(i) for i in range(model.n_layer))
    return k, CacheTensor(shape.type_v, n_v, cells)


def _indexer_keys(model: ModelSpec, shape: RunShape) -> tuple[CacheTensor, ...]:
    """One more cache, of a single head, for sparse attention's choice of tokens.

    DSA (``llama-kv-cache-dsa.cpp:32``): the key, of the indexer's head size. With pooled keys
    (``llama-memory-hybrid-idx.cpp:48``) a gate and a pooled value lie beside it. MSA (MiniMax M3,
    ``llama-kv-cache-msa.cpp:32``), whose model is not latent, also allocates a V of one head.
    """
    cells = padded_n_ctx(shape.n_ctx, n_seq=shape.n_seq)
    width = model.indexer_head_size * (3 if model.indexer_kpool else 1)
    k = CacheTensor(shape.type_k, width, cells)
    if model.is_mla or model.arch == "qwen4exp":
        return (k,)
    return k, CacheTensor(shape.type_v, model.n_embd_head_v, cells)


def _compressed(model: ModelSpec, layer: int, shape: RunShape) -> tuple[CacheTensor, ...]:
    """DeepSeek V4's second cache and the compressor's state (``llama-kv-cache-dsv4.cpp:1210``).

    ``PAD(ceil(n_ctx_seq / ratio), 256)`` cells of K a sequence; at ratio 4 also of indexer keys.
    The state is F32: keys and scores of the tokens not yet compressed, in main blocks only.
    """
    ratio = model.layers[layer].compress_ratio
    if ratio not in _COMPRESSED:
        return ()
    n_seq, head = shape.n_seq, model.n_embd_head_k
    n_ctx_seq = padded_n_ctx(shape.n_ctx, n_seq=n_seq) // n_seq
    cells = padded(-(-n_ctx_seq // ratio), N_CTX_PADDING) * n_seq
    tensors = [CacheTensor(shape.type_k, model.n_embd_k_gqa(layer), cells)]
    states = [(head, ratio)]
    if ratio == 4:
        tensors.append(CacheTensor(shape.type_k, model.indexer_head_size, cells))
        states = [(2 * head, 2 * ratio), (2 * model.indexer_head_size, 2 * ratio)]
    if layer < model.n_layer_main:
        for width, n_rows in states:
            tensors += [CacheTensor("f32", width, n_rows * n_seq)] * 2
    return tuple(tensors)


def _state(model: ModelSpec, layer: int, shape: RunShape) -> tuple[CacheTensor, ...]:
    """A recurrent block's rows, F32, one a sequence (``llama-memory-recurrent.cpp:100``)."""
    widths = [n_embd_r(model), n_embd_s(model)]
    if model.layers[layer].is_ple:
        widths.append(model.ple_conv_state)
    return tuple(CacheTensor("f32", width, shape.n_seq) for width in widths)
