"""Attention over a KV cache: projections, cache writes, scores, and the output projection.

``build_qkv``, ``build_attn`` and ``build_attn_mha`` in ``src/llama-graph.cpp``; the caches' own
operations in ``src/llama-kv-cache.cpp``.
"""

from __future__ import annotations

from localllm.core.ggml import TYPES_BY_NAME
from localllm.core.graph.builder import ROTATION_STEP, Builder
from localllm.core.graph.tensors import Tensor

_NO_OUTPUT_BIAS = frozenset({"ernie4_5", "ernie4_5-moe"})
"""Architectures that load a bias of the output projection and do not add it."""


def qkv(b: Builder, x: Tensor, *, n_head_kv: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Project to Q ``[head, n_head, n]``, K and V; one product where the file holds one matrix."""
    g, n = b.graph, b.n_tokens
    n_head = b.hparams.n_head
    n_kv = b.hparams.n_head_kv if n_head_kv is None else n_head_kv
    head_k, head_v = b.head_k, b.head_v
    if b.has("attn_qkv.weight"):
        fused = b.linear("attn_qkv", x)
        return (
            g.view(fused, (head_k, n_head, n)),
            g.view(fused, (head_k, n_kv, n)),
            g.view(fused, (head_v, n_kv, n)),
        )
    q, k = b.linear("attn_q", x), b.linear("attn_k", x)
    v = b.linear("attn_v", x) if b.has("attn_v.weight") else k
    return (
        g.reshape(q, (head_k, n_head, n)),
        g.reshape(k, (head_k, n_kv, n)),
        g.reshape(v, (head_v, n_kv, n)),
    )


def rope(b: Builder, x: Tensor, *, by_factors: bool = True) -> Tensor:
    """Rotate by position, by the factors that the file may hold."""
    factors = None
    if by_factors:
        factors = b.shared("rope_freqs.weight") or b.shared("rope_factors_long.weight")
    return b.graph.like("rope", x, b.positions, factors)


def attend(
    b: Builder,
    q: Tensor,
    k: Tensor | None,
    v: Tensor | None,
    *,
    output: str = "attn_output",
) -> Tensor:
    """Write K and V to the cache, attend, and project: ``[n_embd, n]``.

    K and V None: a block that reads an earlier block's cache. ``output`` empty: no projection.
    """
    g = b.graph
    rotation_k = _rotation(b, "k", b.shape.type_k, b.head_k)
    rotation_v = _rotation(b, "v", b.shape.type_v, b.head_v)
    q = _rotated(b, q, rotation_k)
    k = None if k is None else _rotated(b, k, rotation_k)
    v = None if v is None else _rotated(b, v, rotation_v)
    for part in (q, k, v) if b.model.n_swa else (q, v, k):
        if part is not None:
            g.expand(part)
    cache_k = b.cache((b.head_k * b.hparams.n_head_kv, b.n_kv * b.n_seq), b.shape.type_k)
    cache_v = b.cache((b.head_v * b.hparams.n_head_kv, b.n_kv * b.n_seq), b.shape.type_v)
    if k is not None:
        store(b, cache_k, k, "k")
    if v is not None:
        store(b, cache_v, v, "v")
    out = g.expand(scores(b, q, cache_k, cache_v))
    out = _rotated(b, out, rotation_v)
    return b.linear(output, out, bias=b.model.arch not in _NO_OUTPUT_BIAS) if output else out


def store(b: Builder, cache: Tensor, x: Tensor, part: str) -> None:
    """Write a batch's rows of K or V (``part``) into the cache (``cpy_k``, ``cpy_v``)."""
    g, n = b.graph, b.n_tokens
    width = x.ne[0] * x.ne[1]
    if part == "v" and b.transposed_v:
        # Transposed: every element is a row of its own, padded to the widest block's.
        rows = g.reshape(x, (width, n)) if x.packed else g.cont(x, (width, n))
        model = b.model
        widest = max(model.n_embd_v_gqa(i) for i in range(model.n_layer))
        if widest > width:
            rows = g.result("pad", (widest, n), rows)
        rows = g.reshape(rows, (1, widest * n))
        g.expand(g.set_rows(g.reshape(cache, (1, 1)), rows, b.cell_ids("v")))
        return
    g.expand(g.set_rows(cache, g.view(x, (width, n), packed=x.packed), b.cell_ids(part)))


def scores(
    b: Builder, q: Tensor, cache_k: Tensor, cache_v: Tensor, *, expand_v: str = ""
) -> Tensor:
    """Attend to the cache: ``[n_head * head_v, n]``.

    With flash attention one fused operation; without, the scores ``[n_kv, n, n_head]`` in F32, and
    a transposed copy of V where the cache does not hold it so.
    ``expand_v``: the tensor that decompresses the values of latent attention.
    """
    g, n = b.graph, b.n_tokens
    n_head, n_seq, n_kv = q.ne[1], b.n_seq, b.n_kv
    shares_k = cache_v.root is cache_k
    head_v = cache_v.ne[0] if shares_k else b.head_v
    n_head_kv = 1 if shares_k else max(b.hparams.n_head_kv, 1)
    per_seq = n // n_seq
    q = g.view(q, (q.ne[0], n_head, per_seq, n_seq))
    q = g.permute(q, (q.ne[0], per_seq, n_head, n_seq))
    k = g.view(cache_k, (q.ne[0], n_head_kv, n_kv, n_seq))
    k = g.permute(k, (q.ne[0], n_kv, n_head_kv, n_seq))
    transposed = b.transposed_v and not shares_k
    v = g.view(cache_v, (head_v, n_head_kv, n_kv, n_seq))
    v = g.permute(v, (n_kv, head_v) if transposed else (head_v, n_kv, n_head_kv, n_seq))
    sinks = b.weight("attn_sinks.weight")
    if b.shape.flash_attn:
        k, v = halved(b, k), halved(b, v)
        out = g.result("flash_attn_ext", (head_v, n_head, per_seq, n_seq), q, k, v, b.mask, sinks)
        b.note_attention(out)
        if expand_v:
            out = g.mul_mat(b.needed(expand_v), g.permute(out, (head_v, per_seq, n_head, n_seq)))
            out = g.permute(out, (out.ne[0], n_head, per_seq, n_seq))
            out = g.cont(out)
        return g.reshape(out, (out.ne[0] * n_head, n))
    kq = g.mul_mat(k, q)
    kq = g.like("soft_max", kq, b.mask, sinks)
    if not transposed:
        v = g.cont(g.view(v, (n_kv, head_v, n_head_kv, n_seq), op="transpose"))
    out = g.result("mul_mat", (head_v, per_seq, n_head, n_seq), v, kq)
    if expand_v:
        out = g.mul_mat(b.needed(expand_v), out)
    return g.cont(g.permute(out, (out.ne[0], n_head, per_seq, n_seq)), (out.ne[0] * n_head, n))


def halved(b: Builder, x: Tensor) -> Tensor:
    """An F32 cache is read as F16: a copy of all of it."""
    return b.graph.result("cpy", x.ne, x, type_="f16") if x.type == "f32" else x


def _rotation(b: Builder, part: str, type_: str, head: int) -> Tensor | None:
    """Hadamard matrix that evens out the rows of a quantised cache, where heads allow it.

    Not beside states where there are windows too (``build_inp_mem_hybrid_iswa``).
    """
    if not TYPES_BY_NAME[type_].quantised or head % ROTATION_STEP or not head:
        return None
    if b.model.n_swa and b.has_states:
        return None
    size = ROTATION_STEP
    while part == "k" and head % (2 * size) == 0:
        size *= 2
    return b.input(f"rotation {part} {int(b.hparams.is_swa)}", (size, size), "f32")


def _rotated(b: Builder, x: Tensor, rotation: Tensor | None) -> Tensor:
    """Multiply by a Hadamard matrix, in pieces of its size (``llama_mul_mat_hadamard``)."""
    if rotation is None:
        return x
    g = b.graph
    size = rotation.ne[0]
    n_elements = 1
    for n in x.ne:
        n_elements *= n
    pieces = (size, n_elements // size)
    flat = g.reshape(x, pieces) if x.packed else g.cont(x, pieces)
    return g.reshape(g.mul_mat(rotation, flat), x.ne)
