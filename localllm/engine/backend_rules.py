"""What ggml's GPU backends answer where it moves bytes: which operations they compute, which take
memory beyond their result, and which pull weights out of RAM.

Read from the backends' sources in the tree of llama-cpp-python 0.3.36 (``ggml/src/ggml-cuda``,
``ggml-metal``, ``ggml-vulkan``); function names are given where a rule was taken. An operation that
a backend refuses is computed by the CPU, and flash attention that is refused switches itself off:
both change the compute buffers of the device and of the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from localllm.core.attention_kernels import METAL_HEADS, OFFLOAD_MIN_BATCH, cuda_has_kernel
from localllm.engine.llama import ggml
from localllm.engine.tensors import Tensor

_F32, _F16, _BF16, _IQ4_NL = 0, 1, 30, 20
_Q4_0, _Q4_1, _Q5_0, _Q5_1, _Q8_0 = 2, 3, 6, 7, 8
_SMALL_TYPES = frozenset({_Q4_0, _Q4_1, _Q5_0, _Q5_1, _Q8_0})
_PREC_F32 = 10


class Rules(NamedTuple):
    """One family of backends. Operations that are not named are computed, and take nothing more."""

    computes: Mapping[str, Callable[[Tensor], bool]] = {}
    """Operations that are refused where the function says so."""
    extra: Mapping[str, Callable[[Tensor, int], int]] = {}
    """Operations that take more than their result: from its size to all that is taken."""
    pulls: frozenset[str] | None = None
    """The only operations that pull weights from RAM; None: all do."""


def rows_pulled(tensor: Tensor, name: str | None) -> int:
    """Size of the batch that decides whether weights are pulled (``get_op_batch_size``)."""
    if name == "GET_ROWS":
        return 0
    if name == "MUL_MAT":
        return int(tensor.ne[1])
    if name in ("MUL_MAT_ID", "ROPE", "ROPE_BACK"):
        return int(tensor.ne[2])
    _, b, c, d = tensor.ne
    return int(b * c * d)


# -- CUDA and ROCm -----------------------------------------------------------------------------

_CUDA_CACHES = _SMALL_TYPES | {_F32, _F16, _BF16}
_CUDA_KV_STRIDE = 256


def _cuda_attends(tensor: Tensor) -> bool:
    """``ggml_cuda_get_best_fattn_kernel`` finds a kernel."""
    q, k, v, mask = tensor.sources()
    head_k, head_v = k.ne[0], v.ne[0]
    ratio = q.ne[2] // k.ne[2]
    grouped = (
        ratio >= 2
        and mask is not None
        and tensor.param_float(1) == 0
        and k.ne[1] % _CUDA_KV_STRIDE == 0
        and all(
            stride % 16 == 0
            for operand in (q, k, v, mask)
            if not ggml.ggml_is_quantized(operand.type)
            for stride in operand.nb[1:]
        )
    )
    ok = cuda_has_kernel(head_k, head_v, ratio=ratio, grouped=grouped)
    return (
        ok
        and k.type in _CUDA_CACHES
        and v.type in _CUDA_CACHES
        and (mask is None or mask.ne[2] == 1)
    )


def _cuda_copies(tensor: Tensor, size: int) -> int:
    """``ggml_cuda_flash_attn_ext_get_alloc_size``: F16 copies of K and V that are not F16."""
    q, k, v, _ = tensor.sources()
    one_token = q.ne[1] == 1 and q.ne[0] <= 256 and q.ne[0] % 64 == 0 and q.ne[0] != 192
    if one_token and k.type == v.type and k.type in (_Q8_0, _Q4_0, _BF16):
        return size  # the vector kernel reads these as they are
    if k.type != _F16:
        size = _padded(size, 128) + 2 * k.n_elements
    if v.type != _F16 and not v.is_view_of(k):
        size = _padded(size, 128) + 2 * v.n_elements
    return size


def _cuda_scans(tensor: Tensor) -> bool:
    state, _, _, a = tensor.sources()
    b = tensor.source(4)
    assert a is not None and b is not None
    if a.ne[0] == 1:  # Mamba 2
        return state.ne[0] in (96, 128, 256) and state.ne[1] % 16 == 0
    return (
        tensor.param(0) <= 1
        and state.ne[0] == 16
        and state.ne[1] == 1
        and state.ne[2] % 128 == 0
        and b.ne[1] == 1
    )


def _cuda_convolves(tensor: Tensor) -> bool:
    source = tensor.source(0)
    return source is not None and source.ne[1] % 128 == 0


def _cuda_multiplies_experts(tensor: Tensor) -> bool:
    return tensor.param(3) != _PREC_F32


def _cuda_indexes(tensor: Tensor) -> bool:
    q = tensor.source(0)
    return q is not None and q.ne[0] == 128 and q.ne[1] in (32, 64)


# -- Metal -------------------------------------------------------------------------------------

_METAL_CACHES = _SMALL_TYPES | {_F32, _F16, _BF16}
_METAL_KV_CHUNK, _METAL_QUERIES = 64, 8
_METAL_SPARSE_HEADS = frozenset(
    {
        *((n, n) for n in (32, 64, 96, 128, 192, 256, 512)),
        *((96, 64), (192, 128), (320, 256), (576, 512)),
    }
)


def _metal_attends(tensor: Tensor) -> bool:
    """``ggml_metal_device_supports_op``; every Apple GPU has matrix units and bfloat16."""
    q, k, v, _ = tensor.sources()
    return (
        q.ne[0] in METAL_HEADS
        and not (k.ne[0] == 72 and v.ne[0] != 72)
        and k.ne[0] >= v.ne[0]
        and k.type == v.type
        and k.type in _METAL_CACHES
    )


def _metal_attention_bytes(tensor: Tensor, size: int) -> int:
    """``ggml_metal_op_flash_attn_ext_extra_*``: pad, blocks, partial results, F16 copies, lists."""
    q, k, v, mask = tensor.sources()
    _, n_k, heads_k, streams_k = k.ne
    _, _, heads_v, streams_v = v.ne
    shared = v.is_view_of(k)
    k_row, v_row = k.nb[1], v.nb[1]
    if q.ne[1] >= 32 and k.type in _SMALL_TYPES:
        k_row, v_row = 2 * k.ne[0], 2 * (k.ne[0] if shared else v.ne[0])
    pad = k_row * heads_k * streams_k + v_row * heads_v * streams_v
    if mask is not None:
        n_mask, rows, mask_heads, mask_streams = mask.ne
        pad += 2 * rows * mask_heads * mask_streams
        few = q.ne[1] < 20 and q.ne[0] % 32 == 0  # the kernel for single tokens
        queries, chunk = (1, 32) if few else (_METAL_QUERIES, _METAL_KV_CHUNK)
        blocks = -(-q.ne[1] // queries) * -(-n_mask // chunk)
        size += _padded(blocks * mask_heads * mask_streams, 32)
        size += _metal_list_bytes(tensor, k, v, rows * mask_heads * mask_streams)
    size += _METAL_KV_CHUNK * pad
    size += 4 * min(q.ne[1], 32) * q.ne[2] * q.ne[3] * 32 * (v.ne[0] + 2)
    size += _padded(2 * k.ne[0] * n_k * heads_k * streams_k, 16)  # always kept, whatever the type
    return size + (0 if shared else _padded(2 * v.n_elements, 16))


def _metal_list_bytes(tensor: Tensor, k: Tensor, v: Tensor, n_rows: int) -> int:
    """Lists of the positions that sparse attention reads."""
    n_kv_max = tensor.param(4)
    if (
        not 0 < n_kv_max <= 4096
        or (k.ne[0], v.ne[0]) not in _METAL_SPARSE_HEADS
        or k.type not in _METAL_CACHES
    ):
        return 0
    return _padded(4 * _padded(n_kv_max, 32) * n_rows, 16)


def _metal_expert_bytes(tensor: Tensor, size: int) -> int:
    """``ggml_metal_op_mul_mat_id_extra_*``: tokens per expert, their numbers, scales."""
    experts, _, ids, _ = tensor.sources()
    n_expert, n_tokens = experts.ne[2], ids.ne[1]
    return int(size + 4 * n_expert + 4 * n_expert * n_tokens + 8 + 256 * 4)


def _metal_top_k_bytes(tensor: Tensor, _size: int) -> int:
    source = tensor.source(0)
    assert source is not None
    return 2 * 4 * source.n_elements


def _metal_indexes(tensor: Tensor) -> bool:
    q, k, _, _ = tensor.sources()
    return q.ne[0] == 128 and q.ne[1] == 64 and k.type in _METAL_CACHES


def _metal_delta(tensor: Tensor) -> bool:
    v = tensor.source(2)
    return v is not None and v.ne[0] % 32 == 0


# -- Vulkan ------------------------------------------------------------------------------------

_VULKAN_CACHES = _SMALL_TYPES | {_F32, _F16, _BF16, _IQ4_NL}


def _vulkan_attends(tensor: Tensor) -> bool:
    """``ggml_backend_vk_device_supports_op``, on a device with subgroup operations."""
    _, k, v, _ = tensor.sources()
    return (
        k.ne[0] % 8 == 0
        and v.ne[0] % 8 == 0
        and k.type in _VULKAN_CACHES
        and v.type in _VULKAN_CACHES
        and (k.type == _BF16) == (v.type == _BF16)
    )


def _vulkan_delta(tensor: Tensor) -> bool:
    v = tensor.source(2)
    return v is not None and v.ne[0] in (16, 32, 64, 128)


def _vulkan_indexes(tensor: Tensor) -> bool:
    q = tensor.source(0)
    return q is not None and q.ne[0] == 128


def _twice(_tensor: Tensor, size: int) -> int:
    return 2 * size


def _padded(n_bytes: int, to: int) -> int:
    return -(-n_bytes // to) * to


RULES: Mapping[str, Rules] = {
    "plain": Rules(),
    "cuda": Rules(
        computes={
            "FLASH_ATTN_EXT": _cuda_attends,
            "SSM_SCAN": _cuda_scans,
            "SSM_CONV": _cuda_convolves,
            "MUL_MAT_ID": _cuda_multiplies_experts,
            "LIGHTNING_INDEXER": _cuda_indexes,
        },
        extra={"FLASH_ATTN_EXT": _cuda_copies},
    ),
    "metal": Rules(
        computes={
            "FLASH_ATTN_EXT": _metal_attends,
            "LIGHTNING_INDEXER": _metal_indexes,
            "GATED_DELTA_NET": _metal_delta,
        },
        extra={
            "FLASH_ATTN_EXT": _metal_attention_bytes,
            "MUL_MAT_ID": _metal_expert_bytes,
            "TOP_K": _metal_top_k_bytes,
            "ARGSORT": _twice,
            "CUMSUM": _twice,
        },
        pulls=frozenset({"MUL_MAT", "MUL_MAT_ID"}),
    ),
    "vulkan": Rules(
        computes={
            "FLASH_ATTN_EXT": _vulkan_attends,
            "GATED_DELTA_NET": _vulkan_delta,
            "LIGHTNING_INDEXER": _vulkan_indexes,
        },
    ),
}
"""By the name that ``core.traits`` gives a device's family."""


def pulls(rules: Rules, tensor: Tensor, name: str | None) -> bool:
    """Whether a device pulls host weights for an operation (``offload_op``)."""
    if rules.pulls is not None and name not in rules.pulls:
        return False
    return rows_pulled(tensor, name) >= OFFLOAD_MIN_BATCH
