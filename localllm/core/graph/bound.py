"""A block of a family whose graph is not known: everything that it may compute, kept at once.

Every matrix of the block gives its rows for the whole batch, experts those of the chosen ones,
attention its scores, and nothing is freed before the block's end. An upper bound of what any order
of these operations takes, found by the same scheduler and allocator, weights in RAM included.
"""

from __future__ import annotations

from localllm.core.graph.builder import Builder
from localllm.core.graph.tensors import Tensor

_SPARE_STATES = 6
"""Hidden states beside the matrices' results: residuals, norms, sums."""


def block(b: Builder, x: Tensor) -> Tensor:
    """One block: ``[n_embd, n]`` -> the same."""
    g, n = b.graph, b.n_tokens
    normed = [g.result("state", x.ne, x) for _ in range(_SPARE_STATES)]
    rows: list[Tensor] = []
    ids = g.result("ids", (max(_n_used(b), 1), n), normed[0], type_="i32")
    for name, dims in b.block_dims.items():
        weight = b.needed(name)
        if len(dims) == 3 and "_exps" in name:
            rows.append(g.result("mul_mat_id", (dims[1], ids.ne[0], n), weight, normed[0], ids))
            rows.append(g.result("state", (dims[1], ids.ne[0], n), rows[-1]))
        elif len(dims) >= 2 and name.endswith(".weight"):
            size = dims[1] * (dims[2] if len(dims) > 2 else 1)
            rows.append(g.result("mul_mat", (size, n), weight, normed[0]))
        else:
            rows.append(g.result("state", x.ne, normed[0], weight))
    if b.hparams.has_kv and b.hparams.n_head:
        rows.append(_attention(b, normed[0]))
    for part in rows:
        g.expand(part)
    out = g.result("state", x.ne, *normed, *rows)
    return g.get_rows(out, b.out_ids) if b.is_last else out


def _n_used(b: Builder) -> int:
    return b.hparams.n_expert_used or b.model.n_expert_used


def _attention(b: Builder, x: Tensor) -> Tensor:
    g, n = b.graph, b.n_tokens
    n_head, head = b.hparams.n_head, max(b.head_k, b.head_v)
    wide = g.result("state", (head, n_head, n), x)
    k = b.cache((b.head_k * max(b.hparams.n_head_kv, 1), b.n_kv * b.n_seq), b.shape.type_k)
    v = b.cache((b.head_v * max(b.hparams.n_head_kv, 1), b.n_kv * b.n_seq), b.shape.type_v)
    cells = (b.n_kv, max(b.hparams.n_head_kv, 1), b.n_seq)
    views = [g.view(k, (b.head_k, *cells)), g.view(v, (b.head_v, *cells))]
    if b.shape.flash_attn:
        return g.result(
            "flash_attn_ext", (head, n_head, n), g.reshape(wide, (head, n, n_head)), *views, b.mask
        )
    kq = g.result("mul_mat", (b.n_kv, n // b.n_seq, n_head, b.n_seq), views[0], wide)
    kq = g.like("soft_max", kq, b.mask)
    return g.result("mul_mat", (head, n_head, n), views[1], kq, wide)
