"""The block of each family of models: which parts it has, and in which order they are joined.

``src/models/*.cpp``. Most decoders are one recipe that the file's own tensors vary: norms before or
after a part, heads that are normed, biases, experts. What the tensors do not tell is in the tables
below; a family that is built otherwise has a function of its own in ``_FAMILIES``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Literal

from localllm.core.graph import attention, bound, ffn, gemma, latent, recurrent
from localllm.core.graph.builder import Builder
from localllm.core.graph.tensors import Tensor
from localllm.core.model import ModelSpec

Block = Callable[[Builder, Tensor], Tensor]
"""Builds one part: what comes in -> what goes on, usually ``[n_embd, n]`` both."""


@dataclass(frozen=True, slots=True)
class Family:
    """How a family's graph is built around its blocks."""

    block: Block
    begin: Block | None = None
    """Between the input embedding and the blocks."""
    end: Block | None = None
    """Between the blocks and the output's norm."""
    logits: Block | None = None
    """After the output's matrix."""
    late_outputs: Literal["no", "plain", "normed"] = "no"
    """Whether every row is kept to the end for MTP heads: of the last state, or of the normed."""


_NO_ROPE = {"jamba", "nemotron_h", "nemotron_h_moe", "bloom", "mpt", "gpt2", "refact", "starcoder"}
_ROPE_IN_WINDOWS_ONLY = {"cohere2", "exaone4", "exaone-moe"}
_ROPE_NOT_EVERY_FOURTH = {"llama4", "smollm3"}
_SCALED = {"gemma", "gemma2", "gemma3", "gemma3n", "gemma4", "minicpm", "minicpm3"}
_NORM_AFTER_ROPE = {"hunyuan-dense", "hunyuan-moe", "hunyuan_vl", "maincoder"}
_STREAM_FIRST_AFTER_MIXING = {"jamba", "lfm2", "lfm2moe", "openelm"}
_STREAM_FIRST_AFTER_NETWORK = {"jamba", "lfm2", "lfm2moe", "phi3", "phimoe"}


def family_of(arch: str) -> Family:
    """Return how an architecture is built, one that is not known as an upper bound."""
    if arch not in _PROVEN:
        return Family(bound.block, logits=bound.end)
    return _FAMILIES.get(arch, Family(decoder))


def variant(model: ModelSpec, layer: int) -> Hashable:
    """Return what makes a block differ from another with the same tensors: its number, for some."""
    if model.arch in _ROPE_NOT_EVERY_FOURTH:
        return layer % 4 == 3
    return model.arch == "gemma3n" and layer < gemma.N_SPARSE_LAYERS


def scales_embeddings(model: ModelSpec) -> bool:
    """Whether the input embeddings are multiplied by a number, on the first block's device."""
    if model.arch in _SCALED:
        return True
    said = model.metadata.get(f"{model.arch}.embedding_scale")
    return model.arch.startswith("granite") and isinstance(said, float) and said != 0


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
    network = _network(b, normed)
    if b.model.arch in ("falcon", "plamo"):
        return g.like("add", g.like("add", network, out), x)
    if b.model.arch == "phi2":
        return g.like("add", g.like("add", out, network), x)
    return g.like("add", g.like("add", network, x), out)


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
    if b.model.arch in _NORM_AFTER_ROPE:
        q, k = attention.rope(b, q), attention.rope(b, k)
    q, k = _normed_heads(b, q, "attn_q_norm"), _normed_heads(b, k, "attn_k_norm")
    if _ropes(b):
        q, k = attention.rope(b, q), attention.rope(b, k)
    if b.model.arch == "llama4":
        q = _llama4_heads(b, q)
        k = _llama4_heads(b, k) if _ropes(b) else k
    return attention.attend(b, q, k, v)


def _llama4_heads(b: Builder, x: Tensor) -> Tensor:
    """Norm without weights after the rotation, a temperature for queries without it."""
    if _ropes(b):
        return b.graph.like("rms_norm", x) if b.model.n_expert != 128 else x
    return b.graph.like("unary", x)


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
    if arch in _NORM_AFTER_ROPE:
        return False
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
    if b.has("ffn_latent_down.weight"):
        rows = b.linear("ffn_latent_down", x)
        out = ffn.experts(b, rows, logits=b.linear("ffn_gate_inp", x))
        out = b.linear("ffn_latent_up", out)
    else:
        out = ffn.experts(b, x)
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


_FAMILIES = {
    "mamba": Family(_mixer_only),
    "mamba2": Family(_mixer_only),
    "nemotron_h": Family(_mixer_only, late_outputs="normed"),
    "nemotron_h_moe": Family(_mixer_only, late_outputs="normed"),
    "falcon-h1": Family(_both_mixers),
    "gemma3n": Family(gemma.block3n, begin=gemma.begin, end=gemma.end3n),
    "gemma4": Family(gemma.block4, begin=gemma.begin, late_outputs="normed"),
    "gpt-oss": Family(decoder, late_outputs="plain"),
    "step35": Family(decoder, late_outputs="plain"),
    "bailingmoe3": Family(decoder, late_outputs="normed"),
    "cohere2moe": Family(decoder, late_outputs="normed"),
    "hy_v3": Family(decoder, late_outputs="normed"),
    "qwen35": Family(decoder, late_outputs="normed"),
    "qwen35moe": Family(decoder, late_outputs="normed"),
    "qwen3next": Family(decoder, late_outputs="normed"),
}


def is_proven(model: ModelSpec) -> bool:
    """Whether the graph of a model's family was compared with llama.cpp's, node by node."""
    return model.arch in _PROVEN


_PROVEN = frozenset(
    """
    bailingmoe bailingmoe2 chatglm codeshell cohere2 command-r deci deepseek deepseek2 deepseek2-ocr
    dots1 ernie4_5 ernie4_5-moe exaone exaone4 falcon falcon-h1 gemma gemma2 gemma3 gemma3n gemma4
    glm4 glm4moe gpt-oss granite granite_swa granitehybrid granitemoe hunyuan-dense hunyuan-moe
    hunyuan_vl internlm2 jamba lfm2 lfm2moe llama llama4 maincoder mamba mamba2 mellum minicpm
    minicpm3 minimax-m2 mistral3 nanbeige nemotron nemotron_h nemotron_h_moe olmo2 olmoe
    openelm orion paddleocr pangu-embedded phi2 phi3 phimoe plamo qwen qwen2 qwen2moe qwen2vl qwen3
    qwen35 qwen35moe qwen3moe qwen3next qwen3vl qwen3vlmoe seed_oss smollm3 stablelm starcoder2
    xverse
    """.split()  # noqa: SIM905  (names in rows, not a quoted word a line)
)
