"""Which head sizes ggml's GPU backends have flash-attention kernels for, and when they stream.

The formulas (``core/graph/backends.py``) and the simulated devices of the dry run
(``engine/backend_rules.py``) ask the same table over tensors of their own kinds. Light: the dry
run's child imports it before its first answer.
"""

from __future__ import annotations

OFFLOAD_MIN_BATCH = 32
"""``GGML_OP_OFFLOAD_MIN_BATCH``, the default of every backend that streams weights: smaller batches
are computed where the weight lies."""

CUDA_HEADS = frozenset({40, 64, 72, 80, 96, 112, 128, 256})
METAL_HEADS = frozenset({32, 40, 48, 64, 72, 80, 96, 112, 128, 192, 256, 320, 512, 576})


def cuda_has_kernel(head_k: int, head_v: int, *, ratio: int, grouped: bool) -> bool:
    """Whether ``ggml_cuda_get_best_fattn_kernel`` finds a kernel for these heads.

    ``ratio``: query heads per KV head; ``grouped``: the kernels for several of them may be used.
    """
    if head_k in CUDA_HEADS:
        return head_k == head_v
    if head_k == 192:
        return head_v == 128 and grouped and ratio % 8 == 0
    if head_k == 320:
        return head_v == 256 and grouped and ratio % 32 == 0
    if head_k == 512:
        return head_v == 512 and grouped
    return head_k == 576 and head_v == 512 and grouped
