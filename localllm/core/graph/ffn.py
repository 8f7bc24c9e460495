"""Feed-forward networks: dense, gated, and mixtures of experts with shared experts.

``build_ffn`` and ``build_moe_ffn`` in ``src/llama-graph.cpp``.
"""

from __future__ import annotations

from localllm.core.graph.builder import Builder
from localllm.core.graph.tensors import Graph, Tensor


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


def experts(b: Builder, x: Tensor, *, logits: Tensor | None = None) -> Tensor:
    """Route each token through ``n_expert_used`` experts and add up what they say.

    Every expert's rows exist at once: ``[n_ff_exp, n_used, n]`` and ``[n_embd, n_used, n]``.
    ``logits``: the router's, where the family computes them itself.
    """
    g, n = b.graph, x.ne[1]
    n_used = b.hparams.n_expert_used or b.model.n_expert_used
    logits = b.linear("ffn_gate_inp", x) if logits is None else logits
    n_expert = logits.ne[0]
    gate = _gate(b)
    if gate == "late":
        probs = logits
    else:
        probs = g.like("soft_max" if gate == "softmax" else "unary", logits)
    bias = b.weight("exp_probs_b.bias") or b.weight("exp_probs_b")
    chosen_by = logits if b.model.arch == "llama4" else probs
    chosen_by = chosen_by if bias is None else g.like("add", chosen_by, bias)
    ids = g.view(_order(g, _in_groups(b, chosen_by)), (n_used, n))
    weights = g.get_rows(g.reshape(probs, (1, n_expert, n)), ids)
    if gate == "late":
        weights = g.like("soft_max", g.reshape(weights, (n_used, n)))
        weights = g.reshape(weights, (1, n_used, n))
    if _norms_weights(b):
        weights = g.reshape(weights, (n_used, n))
        total = g.like("unary", g.result("sum_rows", (1, n), weights))
        weights = g.reshape(g.like("div", weights, total), (1, n_used, n))
    g.expand(weights)
    rows = g.reshape(x, (x.ne[0], 1, n))
    if b.model.arch == "llama4":
        rows = g.like("mul", g.result("repeat", (x.ne[0], n_used, n), rows), weights)
        out = _expert_rows(b, rows, ids)
    else:
        out = g.like("mul", _expert_rows(b, rows, ids), weights)
    g.expand(out)
    parts = [g.expand(g.view(out, (out.ne[0], n))) for _ in range(n_used)]
    total = parts[0]
    for part in parts[1:]:
        total = g.expand(g.like("add", total, part))
    return g.cont(total) if n_used == 1 else total


def _gate(b: Builder) -> str:
    """How the router's logits become weights: softmax, sigmoid, or softmax of the chosen."""
    said = b.setting("expert_gating_func")
    if isinstance(said, int) and said in _GATES:
        return _GATES[said]
    if b.model.arch in _GATES_BY_ARCH:
        return _GATES_BY_ARCH[b.model.arch]
    return "sigmoid" if b.has("exp_probs_b.bias") else "softmax"


_GATES = {1: "softmax", 2: "sigmoid", 3: "late", 4: "sigmoid"}
"""``llama_expert_gating_func_type``."""
_GATES_BY_ARCH = {"gpt-oss": "late", "llama4": "sigmoid"}

_NEVER_NORMED = {"deepseek", "gpt-oss", "jamba", "llada-moe", "llama4", "olmoe", "qwen2moe"}
_NORMED_IF_TOLD = frozenset(
    """
    bailingmoe bailingmoe2 bailingmoe3 cohere2moe deepseek2 deepseek32 deepseek4 dots1 dots3note
    exaone-moe glm-dsa glm4moe glm5-next hy_v4 kimi-k3 minimax-m3 nemotron_h nemotron_h_moe step35
    """.split()  # noqa: SIM905  (names in rows, not a quoted word a line)
)


def _norms_weights(b: Builder) -> bool:
    """Whether the chosen experts' weights are made to add up to one."""
    if b.model.arch in _NORMED_IF_TOLD:
        return bool(b.setting("expert_weights_norm"))
    return b.model.arch not in _NEVER_NORMED


def _order(g: Graph, x: Tensor) -> Tensor:
    return g.result("argsort", x.ne, x, type_="i32")


def _in_groups(b: Builder, probs: Tensor) -> Tensor:
    """DeepSeek V3: only the experts of the best groups may be chosen."""
    n_groups, n_best = b.setting("expert_group_count"), b.setting("expert_group_used_count")
    if not isinstance(n_groups, int) or not isinstance(n_best, int) or n_groups <= 1:
        return probs
    g, (n_expert, n) = b.graph, probs.ne
    size = n_expert // n_groups
    groups = g.reshape(probs, (size, n_groups, n))
    best_two = g.view(_order(g, groups), (2, n_groups, n))
    rows = g.reshape(groups, (1, size, n_groups, n))
    marks = g.result("get_rows", (1, 2, n_groups, n), rows, best_two)
    marks = g.result("sum_rows", (1, n_groups, n), g.reshape(marks, (2, n_groups, n)))
    best = g.view(_order(g, g.reshape(marks, (n_groups, n))), (n_best, n))
    kept = g.result("get_rows", (size, n_best, n), groups, best)
    masked = g.set_rows(g.like("unary", groups), kept, best)
    return g.reshape(masked, (n_expert, n))


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
    scale = b.weight(f"{name}.scale")
    if scale is not None:
        n_expert, n = scale.ne[0], ids.ne[1]
        each = g.result("repeat", (1, n_expert, n), g.reshape(scale, (1, n_expert)))
        out = g.like("mul", out, g.result("get_rows", (1, *ids.ne), each, ids))
    bias = b.weight(f"{name}.bias")
    return out if bias is None else g.like("add", out, bias, ids)
