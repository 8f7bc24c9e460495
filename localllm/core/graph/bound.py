"""A block of a family whose graph is not known: everything that it may compute, kept at once.

Every matrix of the block gives its rows for the whole batch, experts those of the chosen ones,
attention its scores, and nothing is freed before the block's end. An upper bound of what any order
of these operations takes, found by the same scheduler and allocator, weights in RAM included.
"""

from __future__ import annotations

from localllm.core.graph import attention
from localllm.core.graph.builder import Builder
from localllm.core.graph.tensors import Dims, Tensor
from localllm.core.memory import padded_n_ctx
from localllm.core.recurrent import n_embd_s

_SPARE_STATES = 6
"""Hidden states beside the matrices' results: residuals, norms, sums."""

_INDEXER_SCORES = 8
"""Tensors ``[n_kv, n]`` of a sparse attention: scores, their order, masks before and after."""

_MORE_MASKS = 2

_OWN_SCORES = 3
"""Tensors ``[n, n, n_head]`` of attention without a cache: scores, and T5's bias twice."""


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
    rows += [g.result("state", dims, normed[0]) for dims in _scratch(b)]
    if b.hparams.n_head and not b.hparams.is_recurrent:
        rows.append(_attention(b, normed[0]) if b.hparams.has_kv else _within(b, normed[0]))
    for part in rows:
        g.expand(part)
    out = g.result("state", x.ne, *normed, *rows, *_more_masks(b))
    return g.get_rows(out, b.out_ids) if b.is_last else out


def end(b: Builder, logits: Tensor) -> Tensor:
    """Logits that some families mask or scale into a copy."""
    return b.graph.like("state", logits)


def _n_used(b: Builder) -> int:
    return b.hparams.n_expert_used or b.model.n_expert_used


def _n_seen(b: Builder) -> int:
    """Rows that a token may look at: the cache's, or the batch's."""
    if b.hparams.compress_ratio:
        return padded_n_ctx(b.shape.n_ctx, n_seq=b.n_seq)
    return max(b.n_kv, b.n_tokens) if b.hparams.has_kv else b.n_tokens


def _more_masks(b: Builder) -> list[Tensor]:
    """Other masks than attention's: of a window, an indexer, a batch without a cache."""
    ne = (_n_seen(b), b.n_tokens)
    return [b.input(f"mask {i} of {ne[0]}", ne, "f32") for i in range(_MORE_MASKS)]


def _scratch(b: Builder) -> list[Dims]:
    """What blocks hold that no matrix of theirs tells."""
    n, model, hparams = b.n_tokens, b.model, b.hparams
    found: list[Dims] = []
    if hparams.has_indexer or hparams.compress_ratio:
        heads = b.setting("attention.indexer.head_count")
        found += [(_n_seen(b), n)] * (_INDEXER_SCORES + (heads if isinstance(heads, int) else 0))
    if hparams.is_recurrent:
        width = model.ssm_d_inner + 2 * model.ssm_n_group * model.ssm_d_state
        found += [(max(width, 3 * b.n_embd), n)] * _SPARE_STATES
        found.append((n_embd_s(model), b.n_seq))
        if model.n_embd_head_la:
            found += [(n, n, hparams.n_head)] * 4
    return found


def _within(b: Builder, x: Tensor) -> Tensor:
    """Attention among the batch's own tokens, with a bias for distances where there is one."""
    g, n = b.graph, b.n_tokens
    scores = [g.result("state", (n, n, b.hparams.n_head), x) for _ in range(_OWN_SCORES)]
    return g.result("state", x.ne, x, *scores)


def _attention(b: Builder, x: Tensor) -> Tensor:
    g, n = b.graph, b.n_tokens
    n_head, head = b.hparams.n_head, max(b.head_k, b.head_v)
    wide = g.result("state", (head, n_head, n), x)
    n_kv = max(b.hparams.n_head_kv, 1)
    k = b.cache((b.head_k * n_kv, b.n_kv * b.n_seq), b.shape.type_k)
    v = b.cache((b.head_v * n_kv, b.n_kv * b.n_seq), b.shape.type_v)
    cells = (b.n_kv, n_kv, b.n_seq)
    views = [g.view(k, (b.head_k, *cells)), g.view(v, (b.head_v, *cells))]
    if b.shape.flash_attn:
        halves = [attention.halved(b, view) for view in views]
        q = g.reshape(wide, (head, n, n_head))
        out = g.result("flash_attn_ext", (head, n_head, n), q, *halves, b.mask)
        b.note_attention(out)
        return out
    kq = g.result("mul_mat", (b.n_kv, n // b.n_seq, n_head, b.n_seq), views[0], wide)
    kq = g.like("soft_max", kq, b.mask)
    return g.result("mul_mat", (head, n_head, n), views[1], kq, wide)
