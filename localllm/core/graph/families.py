"""The block of each family of models: which parts it has, and in which order they are joined.

``src/models/*.cpp``. Most decoders are one recipe that the file's own tensors vary: norms before or
after a part, heads that are normed, biases, experts. What the tensors do not tell is in the tables
below; a family that is built otherwise has a function of its own in ``_BLOCKS``.
"""

from __future__ import annotations

from collections.abc import Callable

from localllm.core.graph import attention, ffn, latent, recurrent
from localllm.core.graph.builder import Builder
from localllm.core.graph.tensors import Tensor
from localllm.core.model import ModelSpec

Block = Callable[[Builder, Tensor], Tensor]

LATE_OUTPUTS = {
    "gpt-oss": False,
    "step35": False,
    "bailingmoe3": True,
    "cohere2moe": True,
    "gemma4": True,
    "hy-v3": True,
    "nemotron_h": True,
    "qwen35": True,
    "qwen35moe": True,
    "qwen3next": True,
}
"""Families that keep every row to the end, for MTP heads; True: of the normed state."""

_GATES = {"gpt-oss": "late", "llama4": "sigmoid"}
_NO_ROPE = {"jamba", "nemotron_h", "nemotron_h_moe", "bloom", "mpt", "gpt2", "refact", "starcoder"}
_ROPE_IN_WINDOWS_ONLY = {"cohere2", "exaone4"}
_ROPE_NOT_EVERY_FOURTH = {"llama4", "smollm3"}
_STREAM_FIRST_AFTER_MIXING = {"jamba", "lfm2", "lfm2moe", "openelm"}
_STREAM_FIRST_AFTER_NETWORK = {"jamba", "lfm2", "lfm2moe", "phi3", "phimoe"}


def block_of(arch: str) -> Block:
    """Return what builds a block of an architecture: ``[n_embd, n]`` -> ``[n_embd, n]``."""
    return _BLOCKS.get(arch, decoder)


def decoder(b: Builder, x: Tensor) -> Tensor:
    """Attention and a feed-forward network, each added to what came in.

    A norm that follows attention is before the sum where the network has one of its own.
    """
    normed = b.norm(x, "attn_norm") if b.has("attn_norm.weight") else x
    out = _mixer(b, normed)
    parallel = not (b.has("ffn_norm.weight") or b.has("post_attention_norm.weight"))
    if parallel:
        return _parallel(b, out, normed, x)
    out, x = b.outputs_only(out, x)
    after = b.has("ffn_norm.weight") or b.has("post_ffw_norm.weight")
    if after and b.has("post_attention_norm.weight"):
        out = b.norm(out, "post_attention_norm")
    x = _sum(b, out, x, _STREAM_FIRST_AFTER_MIXING)
    before = "ffn_norm" if b.has("ffn_norm.weight") else "post_attention_norm"
    normed = b.norm(x, before) if b.has("ffn_norm.weight") or not after else x
    out = _network(b, normed)
    if b.has("post_ffw_norm.weight"):
        out = b.norm(out, "post_ffw_norm")
    return _sum(b, out, x, _STREAM_FIRST_AFTER_NETWORK)


def _sum(b: Builder, out: Tensor, x: Tensor, stream_first: set[str]) -> Tensor:
    """Add a part's result to the stream; which comes first decides whose memory is kept."""
    first, second = (x, out) if b.model.arch in stream_first else (out, x)
    return b.graph.like("add", first, second)


def _parallel(b: Builder, out: Tensor, normed: Tensor, x: Tensor) -> Tensor:
    """Attention and network beside each other, both from the one norm."""
    if b.has("attn_norm_2.weight"):
        normed = b.norm(x, "attn_norm_2")
    out, x, normed = b.outputs_only(out, x, normed)
    g = b.graph
    return g.like("add", g.like("add", _network(b, normed), x), out)


def _mixer(b: Builder, x: Tensor) -> Tensor:
    """What mixes tokens: attention of some kind, or a state."""
    if b.has("attn_kv_a_mqa.weight"):
        return latent.attend(b, x)
    if b.has("shortconv.in_proj.weight"):
        return recurrent.short_convolution(b, x)
    if b.has("ssm_x.weight"):
        return recurrent.mamba(b, x)
    if b.has("ssm_ba.weight") or b.has("ssm_beta.weight"):
        return recurrent.delta_net(b, b.graph.expand(x))
    if b.has("ssm_in.weight"):
        return recurrent.mamba2(b, x)
    if _gates_queries(b):
        return _gated_attention(b, b.graph.expand(x))
    return _attention(b, x)


def _attention(b: Builder, x: Tensor) -> Tensor:
    q, k, v = attention.qkv(b, x)
    q, k = _normed_heads(b, q, "attn_q_norm"), _normed_heads(b, k, "attn_k_norm")
    if _ropes(b):
        q, k = attention.rope(b, q), attention.rope(b, k)
    return attention.attend(b, q, k, v)


def _normed_heads(b: Builder, x: Tensor, name: str) -> Tensor:
    """Norm heads one by one, or all together where the weight is as wide as all."""
    if not b.has(f"{name}.weight"):
        return x
    width = b.dims(f"{name}.weight")[0]
    if width == x.ne[0]:
        return b.norm(x, name)
    flat = x.sources[0] if x.op == "reshape" else b.graph.cont(x, (width, b.n_tokens))
    return b.graph.reshape(b.norm(flat, name), x.ne)


def _ropes(b: Builder) -> bool:
    arch = b.model.arch
    if arch in _ROPE_IN_WINDOWS_ONLY and b.model.n_swa:
        return b.hparams.is_swa
    if arch in _ROPE_NOT_EVERY_FOURTH:
        return (b.layer + 1) % 4 != 0
    return arch not in _NO_ROPE


def _gates_queries(b: Builder) -> bool:
    """Whether ``attn_q`` gives queries and gates of the same width (Qwen3-Next)."""
    if not b.has("attn_q.weight"):
        return False
    return b.dims("attn_q.weight")[1] == 2 * b.hparams.n_head * b.head_k


def _gated_attention(b: Builder, x: Tensor) -> Tensor:
    g, n = b.graph, b.n_tokens
    n_head, head = b.hparams.n_head, b.head_k
    joint, k, v = (b.linear(f"attn_{part}", x) for part in "qkv")
    q, gate = (g.view(joint, (head, n_head, n)) for _ in range(2))
    q = b.norm(q, "attn_q_norm")
    k = b.norm(g.reshape(k, (head, b.hparams.n_head_kv, n)), "attn_k_norm")
    v = g.reshape(v, (head, b.hparams.n_head_kv, n))
    q, k = attention.rope(b, q), attention.rope(b, k)
    out = attention.attend(b, q, k, v, output="")
    gate = g.like("unary", g.cont(gate, (head * n_head, n)))
    return b.linear("attn_output", g.like("mul", out, gate))


def _network(b: Builder, x: Tensor) -> Tensor:
    """Feed-forward part: dense, or experts with or without shared ones."""
    g = b.graph
    if not b.has("ffn_gate_inp.weight"):
        return ffn.dense(b, x)
    out = ffn.experts(b, x, gate=_GATES.get(b.model.arch, "softmax"))
    if not b.has("ffn_up_shexp.weight"):
        return out
    if not b.has("ffn_gate_inp_shexp.weight"):
        return g.like("add", out, ffn.dense(b, x, "_shexp"))
    if b.model.arch == "qwen2moe":
        open_ = b.linear("ffn_gate_inp_shexp", x)
        open_ = g.like("div", g.like("unary", open_), open_)
        shared = g.like("mul", ffn.dense(b, x, "_shexp"), open_)
    else:
        shared = ffn.dense(b, x, "_shexp")
        open_ = g.like("unary", b.linear("ffn_gate_inp_shexp", x))
        shared = g.like("mul", shared, open_)
    return g.like("add", out, shared)


def _mixer_only(b: Builder, x: Tensor) -> Tensor:
    """A block of one part: a state, attention or a network (Mamba, Nemotron-H)."""
    normed = b.norm(x, "attn_norm")
    has_network = b.has("ffn_up.weight") or b.has("ffn_gate_inp.weight")
    out = _network(b, normed) if has_network else _mixer(b, normed)
    out, x = b.outputs_only(out, x)
    return b.graph.like("add", out, x)


def _both_mixers(b: Builder, x: Tensor) -> Tensor:
    """Attention and a state beside each other (Falcon-H1)."""
    g = b.graph
    attended = _attention(b, b.norm(x, "attn_norm"))
    state = recurrent.mamba2(b, b.norm(x, "attn_norm"))
    x = g.like("add", g.like("add", attended, state), x)
    (x,) = b.outputs_only(x)
    return g.like("add", _network(b, b.norm(x, "ffn_norm")), x)


_BLOCKS: dict[str, Block] = {
    "mamba": _mixer_only,
    "mamba2": _mixer_only,
    "nemotron_h": _mixer_only,
    "nemotron_h_moe": _mixer_only,
    "falcon-h1": _both_mixers,
}


def is_proven(model: ModelSpec) -> bool:
    """Whether the graph of a model's family was compared with llama.cpp's, node by node."""
    return model.arch in _PROVEN


_PROVEN = frozenset(
    {"llama", "qwen3", "qwen3moe", "gemma3", "gpt-oss", "deepseek2", "lfm2", "mamba"}
)
