"""Gemma 4 and Gemma 3n: embeddings of their own for every block, shared caches, parallel streams.

``src/models/gemma4.cpp`` and ``gemma3n.cpp``. A block without a cache of its own reads an earlier
one's.
"""

from __future__ import annotations

from localllm.core.graph import attention, ffn
from localllm.core.graph.builder import Builder
from localllm.core.graph.tensors import Tensor

N_SPARSE_LAYERS = 10
"""Blocks at Gemma 3n's start that keep only the largest activations."""

_N_STREAMS = 4
"""Gemma 3n's ``n_altup``; ``altup_proj`` says it less one."""


def begin(b: Builder, x: Tensor) -> Tensor:
    """Before the blocks: every block's own embeddings, and Gemma 3n's further streams."""
    if b.has("per_layer_token_embd.weight"):
        b.carried["per layer"] = _per_layer(b, x)
    if not b.has("altup_proj.weight"):
        return x
    b.enter_output()
    g = b.graph
    n_more = _N_STREAMS - 1
    goal = _magnitude(b, x)
    more = g.result("repeat", (*x.ne, n_more), x)
    more = g.result("mul_mat", (*x.ne, n_more), b.weight("altup_proj.weight"), more)
    size = _magnitude(b, more)
    more = g.like("div", g.like("mul", more, goal), size)
    return g.result("concat", (*x.ne, _N_STREAMS), x, more)


def _per_layer(b: Builder, x: Tensor) -> Tensor:
    """All blocks' embeddings: ``[n_embd_per_layer, n, n_layer]``."""
    g, n, n_layer = b.graph, b.n_tokens, b.model.n_layer_main
    tokens = b.input("tokens of the layers", (n,))
    rows = g.get_rows(b.needed("per_layer_token_embd.weight"), tokens)
    width = rows.ne[0] // n_layer
    own = g.like("unary", g.reshape(rows, (width, n_layer, n)))
    g.expand(own)
    b.enter_first()
    projected = g.like("unary", b.linear("per_layer_model_proj", x))
    projected = g.reshape(projected, (width, n_layer, n))
    projected = b.norm(projected, "per_layer_proj_norm")
    both = g.like("unary", g.like("add", projected, own))
    return g.cont(g.permute(both, (width, n, n_layer)))


def block4(b: Builder, x: Tensor) -> Tensor:
    """One block of Gemma 4: ``[n_embd, n]`` -> the same."""
    g = b.graph
    out = _attention(b, b.norm(x, "attn_norm"), ropes_by_factors=not b.hparams.is_swa)
    x = g.like("add", b.norm(out, "post_attention_norm"), x)
    if b.has("ffn_gate_inp.weight"):
        dense = b.norm(ffn.dense(b, b.norm(x, "ffn_norm")), "post_ffw_norm_1")
        rows = b.norm(x, "pre_ffw_norm_2")
        look = g.like("unary", g.like("rms_norm", x))
        look = g.like("mul", look, b.weight("ffn_gate_inp.scale"))
        logits = g.mul_mat(b.needed("ffn_gate_inp.weight"), look)
        routed = b.norm(ffn.experts(b, rows, logits=logits), "post_ffw_norm_2")
        out = g.like("add", dense, routed)
    else:
        out = ffn.dense(b, b.norm(x, "ffn_norm"))
    x = g.like("add", b.norm(out, "post_ffw_norm"), x)
    if "per layer" in b.carried:
        out = g.like("unary", b.linear("inp_gate", x))
        out = b.linear("proj", g.like("mul", out, _own(b)))
        x = g.like("add", x, b.norm(out, "post_norm"))
    scale = b.weight("layer_output_scale.weight")
    return x if scale is None else g.like("mul", x, scale)


def block3n(b: Builder, streams: Tensor) -> Tensor:
    """One block of Gemma 3n, on all streams: ``[n_embd, n, 4]`` -> the same."""
    g = b.graph
    predicted = _predict(b, streams)
    x = _slice(b, predicted)
    normed = b.norm(x, "attn_norm")
    side = b.linear("laurel_r", b.linear("laurel_l", normed))
    side = g.like("add", b.norm(side, "laurel_post_norm"), normed)
    out = b.norm(_attention(b, normed, ropes_by_factors=False), "post_attention_norm")
    out = g.like("add", out, x)
    out = g.like("unary", g.like("add", out, side))
    normed = b.norm(out, "ffn_norm")
    up, gate = b.linear("ffn_up", normed), b.linear("ffn_gate", normed)
    if b.layer < N_SPARSE_LAYERS:
        gate = _largest(b, gate)
    hidden = g.like("mul", up, g.like("unary", gate))
    network = b.norm(b.linear("ffn_down", hidden), "post_ffw_norm")
    corrected = _correct(b, predicted, g.like("add", network, out))
    first = g.like("mul", _slice(b, corrected), b.weight("altup_correct_scale.weight"))
    first = g.like("unary", b.linear("inp_gate", first))
    first = b.linear("proj", g.like("mul", first, _own(b)))
    first = b.norm(first, "post_norm")
    rest = g.view(corrected, (*first.ne, _N_STREAMS - 1), packed=True)
    rest = g.like("add", rest, first)
    return g.result("concat", streams.ne, _slice(b, corrected), rest)


def end3n(b: Builder, streams: Tensor) -> Tensor:
    """Merge the streams, then keep the outputs' rows."""
    g = b.graph
    goal = _magnitude(b, _slice(b, streams))
    others = g.view(streams, (*streams.ne[:2], _N_STREAMS - 1), packed=True)
    others = g.result("mul_mat", others.ne, b.weight("altup_unembd_proj.weight"), others)
    size = _magnitude(b, others)
    others = g.like("div", g.like("mul", others, goal), size)
    x = _slice(b, streams)
    for _ in range(_N_STREAMS - 1):
        x = g.like("add", x, _slice(b, others))
    return g.get_rows(g.like("unary", x), b.out_ids)


def _attention(b: Builder, x: Tensor, *, ropes_by_factors: bool) -> Tensor:
    g, n = b.graph, b.n_tokens
    n_head, n_kv, head = b.hparams.n_head, b.hparams.n_head_kv, b.head_k
    q = g.reshape(b.linear("attn_q", x), (head, n_head, n))
    q = attention.rope(b, b.norm(q, "attn_q_norm"), by_factors=ropes_by_factors)
    if not b.hparams.has_kv:
        return attention.attend(b, q, None, None)
    rows = b.linear("attn_k", x)
    k = g.reshape(rows, (head, n_kv, n))
    v = rows if not b.has("attn_v.weight") else b.linear("attn_v", x)
    v = g.reshape(v, (head, n_kv, n))
    k = b.norm(k, "attn_k_norm")
    v = g.like("rms_norm", v)
    k = attention.rope(b, k, by_factors=ropes_by_factors)
    return attention.attend(b, q, k, v)


def _own(b: Builder) -> Tensor:
    """Return the block's slice of what every block was given."""
    given = b.carried["per layer"]
    return b.graph.view(given, given.ne[:2], packed=True)


def _slice(b: Builder, streams: Tensor) -> Tensor:
    return b.graph.view(streams, streams.ne[:2], packed=True)


def _magnitude(b: Builder, x: Tensor) -> Tensor:
    g = b.graph
    return g.like("unary", g.result("sum_rows", (1, *x.ne[1:]), g.like("unary", x)))


def _modalities(b: Builder, x: Tensor) -> Tensor:
    g = b.graph
    return g.like(
        "unary", b.linear("altup_router", g.like("unary", b.norm(x, "altup_router_norm")))
    )


def _predict(b: Builder, streams: Tensor) -> Tensor:
    g = b.graph
    width, n, n_streams = streams.ne
    coefficients = b.linear("altup_predict_coef", _modalities(b, _slice(b, streams)))
    coefficients = g.reshape(coefficients, (n_streams, n_streams, n))
    turned = g.cont(g.permute(streams, (n_streams, width, n)))
    mixed = g.result("mul_mat", (width, n_streams, n), turned, coefficients)
    back = g.cont(g.permute(mixed, streams.ne))
    return g.like("add", back, streams)


def _correct(b: Builder, predicted: Tensor, x: Tensor) -> Tensor:
    g = b.graph
    modalities = _modalities(b, x)
    news = g.like("add", x, _slice(b, predicted))
    news = g.result("repeat", predicted.ne, news)
    weights = g.like("unary", b.linear("altup_correct_coef", modalities))
    weights = g.cont(g.view(weights, weights.ne[::-1], op="transpose"), (1, x.ne[1], _N_STREAMS))
    return g.like("add", g.like("mul", news, weights), predicted)


def _largest(b: Builder, x: Tensor) -> Tensor:
    """Keep what lies above mean and deviation (``gaussian_topk``)."""
    g = b.graph
    mean = g.result("mean", (1, *x.ne[1:]), x)
    squares = g.like("unary", g.like("add", x, mean))
    deviation = g.like("unary", g.result("sum_rows", (1, *x.ne[1:]), squares))
    cut = g.like("add", mean, g.like("unary", deviation))
    return g.like("unary", g.like("add", x, cut))
