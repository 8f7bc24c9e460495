"""What devices refuse to compute, pull from RAM, or need beside a result.

The same rules as the simulated devices of the dry run have (``engine/backend_rules.py``, with the
functions of ``ggml/src/ggml-cuda`` and ``ggml-metal`` that they were read from), over shapes alone.
"""

from __future__ import annotations

from math import prod

from localllm.core.attention_kernels import METAL_HEADS, OFFLOAD_MIN_BATCH, cuda_has_kernel
from localllm.core.ggml import TYPES_BY_NAME, row_bytes
from localllm.core.graph.tensors import Tensor
from localllm.core.traits import DeviceTraits

_CACHES = frozenset({"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "f32", "f16", "bf16"})
_CHECKED = frozenset({"flash_attn_ext", "ssm_scan", "ssm_conv"})


def computes(traits: DeviceTraits, node: Tensor) -> bool:
    """Whether a device computes an operation (``supports_op``); else the CPU does."""
    if node.op not in _CHECKED or traits.rules == "plain":
        return True
    if node.op == "flash_attn_ext":
        return _attends(traits, node)
    if traits.rules != "cuda":
        return True
    state = node.sources[0]
    if node.op == "ssm_conv":
        return state.ne[1] % 128 == 0
    if node.sources[3].ne[0] == 1:
        return state.ne[0] in (96, 128, 256) and state.ne[1] % 16 == 0
    return state.ne[0] == 16 and state.ne[1] == 1 and state.ne[2] % 128 == 0


def _attends(traits: DeviceTraits, node: Tensor) -> bool:
    q, k, v = node.sources[:3]
    head_k, head_v = k.ne[0], v.ne[0]
    if traits.rules == "vulkan":
        known = k.type in _CACHES | {"iq4_nl"} and v.type in _CACHES | {"iq4_nl"}
        return known and head_k % 8 == 0 == head_v % 8 and (k.type == "bf16") == (v.type == "bf16")
    if traits.rules == "metal":
        same = k.type == v.type and k.type in _CACHES
        return same and head_k in METAL_HEADS and head_k >= head_v
    ratio = q.ne[2] // k.ne[2]
    grouped = ratio >= 2 and k.ne[1] % 256 == 0
    fits = cuda_has_kernel(head_k, head_v, ratio=ratio, grouped=grouped)
    return fits and k.type in _CACHES and v.type in _CACHES


def streams(traits: DeviceTraits, node: Tensor) -> bool:
    """Whether a device pulls a host weight for an operation (``offload_op``)."""
    if not traits.streams_weights or not computes(traits, node):
        return False
    if traits.rules == "metal" and node.op not in ("mul_mat", "mul_mat_id"):
        return False
    return _batch(node) >= OFFLOAD_MIN_BATCH


def _batch(node: Tensor) -> int:
    """Tokens of an operation, as CUDA's ``get_op_batch_size`` counts them."""
    if node.op == "get_rows":
        return 0
    if node.op == "mul_mat":
        return node.ne[1]
    if node.op in ("mul_mat_id", "rope"):
        return node.ne[2]
    return node.n_rows


class DeviceSize:
    """What a device's buffer wants for a tensor (``get_alloc_size``): an operation's scratch space,
    and rows padded to whole steps."""

    __slots__ = ("_traits",)

    def __init__(self, traits: DeviceTraits) -> None:
        """Of one kind of device."""
        self._traits = traits

    def __call__(self, tensor: Tensor) -> int:
        """Bytes for one tensor, before alignment."""
        traits, size = self._traits, tensor.n_bytes
        if traits.rules == "metal":
            return _metal_bytes(tensor)
        if tensor.op == "flash_attn_ext":
            return _with_f16_copies(tensor) if traits.copies_quantised_kv else size
        padding = traits.row_padding
        if padding > 1 and tensor.ne[0] % padding:
            type_ = TYPES_BY_NAME[tensor.type]
            if type_.quantised:
                size += (padding - tensor.ne[0] % padding) // type_.block * type_.n_bytes
        return size


def _shares_k(k: Tensor, v: Tensor) -> bool:
    """Whether V is a view of K, as in latent attention."""
    return v.root is k.root


def _with_f16_copies(tensor: Tensor) -> int:
    """CUDA's kernels keep F16 copies of a cache of another type behind their result.

    ``ggml_cuda_flash_attn_ext_get_alloc_size``: not for one token of a type that they read as is.
    """
    q, k, v = tensor.sources[:3]
    size = tensor.n_bytes
    one_token = q.ne[1] == 1 and q.ne[0] <= 256 and q.ne[0] % 64 == 0 and q.ne[0] != 192
    if one_token and k.type == v.type and k.type in ("q8_0", "q4_0", "bf16"):
        return size
    for part in (k,) if _shares_k(k, v) else (k, v):
        if part.type != "f16":
            size = _padded(size, 128) + 2 * prod(part.ne)
    return size


def _metal_bytes(tensor: Tensor) -> int:
    """Metal's scratch space, ``ggml_metal_op_*_extra_*``."""
    size = tensor.n_bytes
    if tensor.op == "argsort":
        return 2 * size
    if tensor.op == "mul_mat_id":
        experts, _, ids = tensor.sources
        return size + 4 * experts.ne[2] * (1 + ids.ne[1]) + 8 + 256 * 4
    if tensor.op == "flash_attn_ext":
        return _metal_attention_bytes(tensor)
    return size


def _metal_attention_bytes(tensor: Tensor) -> int:
    """Padding of the last chunk, blocks of the mask, partial results, and F16 copies of K and V."""
    q, k, v, mask = tensor.sources[:4]
    head_k, n_kv, n_head_kv, n_seq = (*k.ne, 1)[:4]
    head_v, shared = v.ne[0], _shares_k(k, v)
    few = q.ne[1] < 20 and q.ne[0] % 32 == 0
    if q.ne[1] >= 32 and TYPES_BY_NAME[k.type].quantised:
        k_row, v_row = 2 * head_k * n_head_kv, 2 * (head_k if shared else head_v) * n_head_kv
    else:
        k_row = row_bytes(k.type, head_k * n_head_kv)
        v_row = k_row if shared else row_bytes(v.type, head_v * n_head_kv)
    pad = (k_row + v_row) * n_head_kv * n_seq
    rows, n_mask = mask.ne[1], mask.ne[0]
    pad += 2 * rows * n_seq
    queries, chunk = (1, 32) if few else (8, 64)
    blocks = -(-q.ne[1] // queries) * -(-n_mask // chunk)
    size = tensor.n_bytes + _padded(blocks * n_seq, 32) + 64 * pad
    size += 4 * min(q.ne[1], 32) * q.ne[2] * n_seq * 32 * (head_v + 2)
    size += _padded(2 * head_k * n_kv * n_head_kv * n_seq, 16)
    return size + (0 if shared else _padded(2 * prod(v.ne), 16))


def _padded(n_bytes: int, to: int) -> int:
    return -(-n_bytes // to) * to
