"""Feed-forward networks: dense, gated, and mixtures of experts with shared experts.

``build_ffn`` and ``build_moe_ffn`` in ``src/llama-graph.cpp``.
"""

from __future__ import annotations

from localllm.core.graph.builder import Builder
from localllm.core.graph.tensors import Tensor


def dense(b: Builder, x: Tensor, suffix: str = "") -> Tensor:
    """``down(act(gate(x)) * up(x))``; without a gate the activation alone, or halves of ``up``.

    ``suffix``: ``_shexp`` for shared experts.
    """
    g = b.graph
    up = b.linear(f"ffn_up{suffix}", x)
    if b.has(f"ffn_gate{suffix}.weight"):
        gate = b.linear(f"ffn_gate{suffix}", x)
        hidden = g.like("glu", gate, up)
    elif up.ne[0] == 2 * b.dims(f"ffn_down{suffix}.weight")[0]:
        hidden = g.result("glu", (up.ne[0] // 2, *up.ne[1:]), up)
    else:
        hidden = g.like("unary", up)
    return b.linear(f"ffn_down{suffix}", hidden)


def experts(b: Builder, x: Tensor, *, gate: str = "softmax", norm_weights: bool = True) -> Tensor:
    """Route each token through ``n_expert_used`` experts and add up what they say.

    Every expert's rows exist at once: ``[n_ff_exp, n_used, n]`` and ``[n_embd, n_used, n]``.
    ``gate``: softmax, sigmoid, or ``late`` (softmax over the chosen ones).
    """
    g, n = b.graph, x.ne[1]
    n_used = b.hparams.n_expert_used or b.model.n_expert_used
    n_expert = b.dims("ffn_gate_inp.weight")[1]
    logits = b.linear("ffn_gate_inp", x)
    if gate == "softmax":
        probs = g.like("soft_max", logits)
    elif gate == "sigmoid":
        probs = g.like("unary", logits)
    else:
        probs = logits
    bias = b.weight("exp_probs_b.bias")
    chosen_by = probs if bias is None else g.like("add", probs, bias)
    order = g.result("argsort", chosen_by.ne, chosen_by, type_="i32")
    ids = g.view(order, (n_used, n))
    weights = g.get_rows(g.reshape(probs, (1, n_expert, n)), ids)
    if gate == "late":
        weights = g.reshape(weights, (n_used, n))
        weights = g.reshape(g.like("soft_max", weights), (1, n_used, n))
    if norm_weights:
        weights = g.reshape(weights, (n_used, n))
        total = g.like("unary", g.result("sum_rows", (1, n), weights))
        weights = g.reshape(g.like("div", weights, total), (1, n_used, n))
    g.expand(weights)
    rows = g.reshape(x, (x.ne[0], 1, n))
    out = _expert_rows(b, rows, ids)
    out = g.expand(g.like("mul", out, weights))
    parts = [g.expand(g.view(out, (out.ne[0], n))) for _ in range(n_used)]
    total = parts[0]
    for part in parts[1:]:
        total = g.expand(g.like("add", total, part))
    return g.cont(total) if n_used == 1 else total


def _expert_rows(b: Builder, rows: Tensor, ids: Tensor) -> Tensor:
    g = b.graph
    if b.has("ffn_gate_up_exps.weight"):
        both = _product(b, "ffn_gate_up_exps", rows, ids)
        half = (both.ne[0] // 2, *both.ne[1:])
        hidden = g.result("glu", half, g.view(both, half), g.view(both, half))
    else:
        up = _product(b, "ffn_up_exps", rows, ids)
        if b.has("ffn_gate_exps.weight"):
            hidden = g.like("glu", _product(b, "ffn_gate_exps", rows, ids), up)
        else:
            hidden = g.like("unary", up)
    return _product(b, "ffn_down_exps", hidden, ids)


def _product(b: Builder, name: str, rows: Tensor, ids: Tensor) -> Tensor:
    g = b.graph
    out = g.mul_mat_id(b.needed(f"{name}.weight"), rows, ids)
    bias = b.weight(f"{name}.bias")
    return out if bias is None else g.like("add", out, bias, ids)
