"""Multi-head latent attention: one compressed row per token in the cache, for all heads.

``src/models/deepseek2.cpp``. With ``attn_k_b`` in the file the queries are taken to the compressed
space (absorbed) and K serves as V; older files decompress K and V for every head (``attn_kv_b``).
"""

from __future__ import annotations

from localllm.core.graph import attention
from localllm.core.graph.builder import Builder
from localllm.core.graph.tensors import Tensor


def attend(b: Builder, x: Tensor) -> Tensor:
    """Attention of one block: ``[n_embd, n]``."""
    g, n, n_head = b.graph, b.n_tokens, b.hparams.n_head
    n_rot = b.model.n_rot
    rank = b.dims("attn_kv_a_norm.weight")[0]
    if b.has("attn_q_a.weight"):
        q = b.norm(b.linear("attn_q_a", x), "attn_q_a_norm")
        q = b.linear("attn_q_b", q)
    else:
        q = b.linear("attn_q", x)
    head = q.ne[0] // n_head
    q = g.reshape(q, (head, n_head, n))
    compressed = b.linear("attn_kv_a_mqa", x)
    k_rope = attention.rope(b, g.view(compressed, (n_rot, 1, n)))
    kv = b.norm(g.view(compressed, (rank, n)), "attn_kv_a_norm")
    if b.has("attn_kv_b.weight"):
        return _decompressed(b, q, kv, k_rope)
    bare = head - n_rot
    q_rope = attention.rope(b, g.view(q, (n_rot, n_head, n)))
    absorbed = g.mul_mat(b.needed("attn_k_b.weight"), g.permute(q, (bare, n, n_head)))
    absorbed = g.permute(absorbed, (rank, n_head, n))
    q = g.result("concat", (rank + n_rot, n_head, n), absorbed, q_rope)
    v = g.reshape(kv, (rank, 1, n))
    k = g.result("concat", (rank + n_rot, 1, n), v, k_rope)
    for part in (q, v, k):
        g.expand(part)
    cache = b.cache((rank + n_rot, b.n_kv * b.n_seq), b.shape.type_k)
    attention.store(b, cache, k, "k")
    values = g.view(cache, (rank, 1, b.n_kv, b.n_seq))
    out = attention.scores(b, q, cache, values, expand_v="attn_v_b.weight")
    return b.linear("attn_output", g.expand(out), bias=False)


def _decompressed(b: Builder, q: Tensor, kv: Tensor, k_rope: Tensor) -> Tensor:
    g, n, n_head = b.graph, b.n_tokens, b.hparams.n_head
    head, n_rot = q.ne[0], b.model.n_rot
    both = b.linear("attn_kv_b", kv)
    head_v = both.ne[0] // n_head - (head - n_rot)
    k_bare = g.view(both, (head - n_rot, n_head, n))
    v = g.cont(g.view(both, (head_v, n_head, n)))
    q = attention.rope(b, q)
    repeated = g.result("repeat", (n_rot, n_head, n), k_rope)
    k = g.result("concat", (head, n_head, n), k_bare, repeated)
    return attention.attend(b, q, k, v)
