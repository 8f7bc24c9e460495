"""Blocks that keep a state instead of a cache: Mamba, gated delta nets, short convolutions.

``src/models/mamba-base.cpp``, ``delta-net-base.cpp``, ``lfm2.cpp`` and ``build_rs`` in
``src/llama-graph.cpp``. ``T`` tokens of each of ``n_seq`` sequences.
"""

from __future__ import annotations

from collections.abc import Callable

from localllm.core.graph.builder import Builder
from localllm.core.graph.tensors import Tensor
from localllm.core.recurrent import n_embd_r, n_embd_s

Rows = Callable[[Tensor, Tensor], Tensor]
"""What reads the states: (all states, their ids) -> this batch's states, or a scan's result."""


def mamba(b: Builder, x: Tensor) -> Tensor:
    """First Mamba: one state per channel."""
    g, model = b.graph, b.model
    n_seq, per_seq = b.n_seq, b.n_tokens // b.n_seq
    d_inner, d_state, rank = model.ssm_d_inner, model.ssm_d_state, model.ssm_dt_rank
    history = _state(b, n_embd_r(model))
    xz = b.linear("ssm_in", g.reshape(x, (x.ne[0], per_seq, n_seq)))
    part, z = (g.view(xz, (d_inner, per_seq, n_seq)) for _ in range(2))
    conv = _convolved(b, history, part, d_inner)
    mixed = b.linear("ssm_x", conv)
    steps = g.view(mixed, (rank, per_seq, n_seq))
    keys, values = (g.view(mixed, (d_state, 1, per_seq, n_seq)) for _ in range(2))
    if b.has("ssm_dt_norm.weight") or b.setting("ssm.dt_b_c_rms"):
        steps = b.norm(steps, "ssm_dt_norm")
        keys, values = b.norm(keys, "ssm_b_norm"), b.norm(values, "ssm_c_norm")
    else:
        steps = g.cont(steps)
    steps = b.linear("ssm_dt", steps)
    rows = g.reshape(conv, (1, d_inner, per_seq, n_seq))
    y = _scan(b, rows, steps, keys, values)
    y = g.view(y, (d_inner, per_seq, n_seq), packed=True)
    y = g.like("add", y, g.like("mul", conv, b.weight("ssm_d")))
    y = g.like("glu", g.cont(z), y)
    out = b.linear("ssm_out", y)
    return g.reshape(out, (out.ne[0], b.n_tokens))


def mamba2(b: Builder, x: Tensor) -> Tensor:
    """Second Mamba: heads that share a decay, groups that share keys and queries."""
    g, model = b.graph, b.model
    n_seq, per_seq = b.n_seq, b.n_tokens // b.n_seq
    d_inner, d_state, n_group = model.ssm_d_inner, model.ssm_d_state, model.ssm_n_group
    n_head = model.ssm_dt_rank
    width = d_inner + 2 * n_group * d_state
    history = _state(b, n_embd_r(model))
    joint = b.linear("ssm_in", x)
    joint = g.reshape(joint, (joint.ne[0], per_seq, n_seq))
    z = g.view(joint, (d_inner // n_head, n_head, per_seq, n_seq))
    steps = g.view(joint, (n_head, per_seq, n_seq))
    conv = _convolved(b, history, g.view(joint, (width, per_seq, n_seq)), width)
    rows = g.view(conv, (d_inner // n_head, n_head, per_seq, n_seq))
    keys, values = (g.view(conv, (d_state, n_group, per_seq, n_seq)) for _ in range(2))
    steps = g.like("add", g.cont(steps), b.weight("ssm_dt.bias"))
    y = _scan(b, rows, steps, keys, values)
    y = g.view(y, rows.ne, packed=True)
    y = g.like("add", y, g.like("mul", rows, b.weight("ssm_d")))
    y = g.like("glu", g.cont(z), y)
    if b.has("ssm_norm.weight"):
        y = b.norm(g.reshape(y, (d_inner // n_group, n_group, per_seq, n_seq)), "ssm_norm")
    return b.linear("ssm_out", g.reshape(y, (d_inner, b.n_tokens)))


def delta_net(b: Builder, x: Tensor) -> Tensor:
    """Gated delta net of Qwen3-Next and Qwen 3.5, its recurrence one fused operation."""
    g, model = b.graph, b.model
    n_seq, per_seq = b.n_seq, b.n_tokens // b.n_seq
    d_inner, head_k, n_k = model.ssm_d_inner, model.ssm_d_state, model.ssm_n_group
    n_v = model.ssm_dt_rank
    head_v = d_inner // n_v
    width = d_inner + 2 * n_k * head_k
    qkv, z = _joint_projections(b, x)
    rate, gate = _rates(b, x)
    history = _state(b, n_embd_r(model))
    joined = _joined(b, history, qkv, width)
    state = g.reshape(_state(b, n_embd_s(model)), (head_v, head_v, n_v, n_seq))
    conv = g.result("ssm_conv", (width, per_seq, n_seq), joined, b.weight("ssm_conv1d.weight"))
    conv = g.like("unary", conv)
    q, k = (g.view(conv, (head_k, n_k, per_seq, n_seq)) for _ in range(2))
    v = g.view(conv, (head_v, n_v, per_seq, n_seq))
    q, k = (g.like("unary", g.like("rms_norm", part)) for part in (q, k))
    if n_k != n_v and model.arch == "qwen3next":
        q, k = (
            g.reshape(
                g.result(
                    "repeat",
                    (head_k, n_v // n_k, n_k, b.n_tokens),
                    g.reshape(part, (head_k, 1, n_k, b.n_tokens)),
                ),
                (head_k, n_v, per_seq, n_seq),
            )
            for part in (q, k)
        )
    size = (head_v * n_v, b.n_tokens + head_v * n_seq)
    out = g.result("gated_delta_net", size, q, k, v, gate, rate, state)
    _remember(b, g.view(out, (head_v, head_v, n_v, n_seq), packed=True), n_embd_s(model))
    y = g.view(out, (head_v, n_v, per_seq, n_seq), packed=True)
    y = b.norm(y, "ssm_norm")
    y = g.like("mul", y, g.like("unary", g.reshape(z, y.ne)))
    y = b.linear("ssm_out", g.reshape(y, (d_inner, per_seq, n_seq)))
    return g.reshape(y, (y.ne[0], b.n_tokens))


def short_convolution(b: Builder, x: Tensor) -> Tensor:
    """LFM2's gated convolution over the last few tokens."""
    g, n_embd = b.graph, b.n_embd
    n_seq, per_seq = b.n_seq, b.n_tokens // b.n_seq
    three = b.linear("shortconv.in_proj", g.reshape(x, (x.ne[0], per_seq, n_seq)))
    before, after, rows = (g.view(three, (n_embd, per_seq, n_seq)) for _ in range(3))
    gated = g.like("mul", before, rows)
    history = _state(b, n_embd_r(b.model))
    joined = _joined(b, history, gated, n_embd)
    conv = g.result("ssm_conv", (n_embd, per_seq, n_seq), joined, b.weight("shortconv.conv.weight"))
    out = b.linear("shortconv.out_proj", g.like("mul", after, conv))
    return g.reshape(out, (out.ne[0], b.n_tokens))


def _state(b: Builder, width: int, rows: Rows | None = None) -> Tensor:
    """Read the batch's states (``build_rs``): zero the new ones, gather, copy those left over.

    None is left over in the worst case, but ggml's allocator sees the empty copy: it may leave an
    empty block behind that keeps its neighbours apart.
    """
    g = b.graph
    ids, left_over = b.state_ids
    cache = b.cache((width, b.n_seq))
    states = g.reshape(cache, (width, b.n_seq))
    fresh = g.view(states, (width,))
    zeroed = g.like("unary", fresh)
    zeroed.view_of = fresh.view_of
    g.expand(zeroed)
    out = g.expand((rows or g.get_rows)(states, ids))
    others = g.get_rows(states, left_over)
    g.expand(g.copy_into(others, g.view(cache, (width, 0))))
    return out


def _joined(b: Builder, history: Tensor, x: Tensor, width: int) -> Tensor:
    """Put the convolution's history before the new tokens, and remember the last of them."""
    g, n_seq = b.graph, b.n_seq
    per_seq = b.n_tokens // n_seq
    n_tail = history.ne[0] // width
    tail = g.reshape(history, (n_tail, width, n_seq))
    turned = g.view(x, (per_seq, width, n_seq), op="transpose")
    joined = g.result("concat", (n_tail + per_seq, width, n_seq), tail, turned)
    span = joined.n_bytes - 4 * per_seq
    _remember(b, g.view(joined, (n_tail, width, n_seq), n_bytes=span), history.ne[0])
    return joined


def _convolved(b: Builder, history: Tensor, x: Tensor, width: int) -> Tensor:
    g, n_seq = b.graph, b.n_seq
    joined = _joined(b, history, x, width)
    kernel = b.weight("ssm_conv1d.weight")
    out = g.result("ssm_conv", (width, b.n_tokens // n_seq, n_seq), joined, kernel)
    return g.like("unary", g.like("add", out, b.weight("ssm_conv1d.bias")))


def _remember(b: Builder, x: Tensor, width: int) -> None:
    g = b.graph
    place = g.view(b.cache((width, b.n_seq)), (width, b.n_seq))
    g.expand(g.copy_into(x, place))


def _scan(b: Builder, rows: Tensor, steps: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The selective scan: outputs and new states in one result."""
    g, model = b.graph, b.model
    n_state = n_embd_s(model)
    size = (model.ssm_d_inner * b.n_tokens + n_state * b.n_seq,)
    decay = b.weight("ssm_a")

    def scan(states: Tensor, ids: Tensor) -> Tensor:
        split = g.reshape(states, (model.ssm_d_state, rows.ne[0], rows.ne[1], b.n_seq))
        return g.result("ssm_scan", size, split, rows, steps, decay, keys, values, ids)

    out = _state(b, n_state, scan)
    _remember(b, g.view(out, (n_state * b.n_seq,), packed=True), n_state)
    return out


def _joint_projections(b: Builder, x: Tensor) -> tuple[Tensor, Tensor]:
    """Q, K and V for the convolution, and the output's gate."""
    g = b.graph
    n_seq, per_seq = b.n_seq, b.n_tokens // b.n_seq
    if b.has("attn_qkv.weight"):
        qkv = b.linear("attn_qkv", x)
        return g.reshape(qkv, (qkv.ne[0], per_seq, n_seq)), b.linear("attn_gate", x)
    model = b.model
    n_k, head_k = model.ssm_n_group, model.ssm_d_state
    width_v = model.ssm_d_inner // n_k
    joint = b.linear("ssm_in", x)
    joint = g.reshape(joint, (2 * head_k + 2 * width_v, n_k, per_seq, n_seq))
    z = g.cont(g.view(joint, (width_v, n_k, per_seq, n_seq)))
    q, k, v = (
        g.cont(g.view(joint, (w, n_k, per_seq, n_seq)), (w * n_k, per_seq, n_seq))
        for w in (head_k, head_k, width_v)
    )
    qk = g.result("concat", (2 * head_k * n_k, per_seq, n_seq), q, k)
    width = 2 * head_k * n_k + model.ssm_d_inner
    return g.result("concat", (width, per_seq, n_seq), qk, v), z


def _rates(b: Builder, x: Tensor) -> tuple[Tensor, Tensor]:
    """How much each head learns (beta) and forgets (gate): ``[1, n_head, T, n_seq]``."""
    g = b.graph
    n_v, n_seq, per_seq = b.model.ssm_dt_rank, b.n_seq, b.n_tokens // b.n_seq
    if b.has("ssm_ba.weight"):
        both = b.linear("ssm_ba", x)
        rate = g.like("unary", g.cont(g.view(both, (n_v, per_seq, n_seq))))
        steps = g.cont(g.view(both, (n_v, per_seq, n_seq)))
    else:
        rate = g.like("unary", g.reshape(b.linear("ssm_beta", x), (1, n_v, per_seq, n_seq)))
        steps = g.reshape(b.linear("ssm_alpha", x), (n_v, per_seq, n_seq))
    steps = g.like("unary", g.like("add", steps, b.weight("ssm_dt.bias")))
    gate = g.like("mul", steps, b.weight("ssm_a"))
    shape = (1, n_v, per_seq, n_seq)
    return g.reshape(rate, shape), g.reshape(gate, shape)
