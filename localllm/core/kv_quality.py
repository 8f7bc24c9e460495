"""What a quantised KV cache costs in quality: mean KL divergence by types and context length.

A small model on few measurements. Per block of attention, with the error of a value from
``GAUSSIAN_ERROR`` (llama.cpp rotates quantised K and V by a Hadamard matrix, after which values are
close to normally distributed; ``src/llama-kv-cache.cpp``, ggml-org/llama.cpp#21038):

    kld = (FLOOR + K_WEIGHT * error(type_k) + V_WEIGHT * error(type_v)) * sqrt(n_ctx / 512)

Measured, and reproduced by tests: Llama 3 8B at 512 tokens with q8_0 and q5_1 before the rotation
(ggml-org/llama.cpp#7412); K in q5_0 and q4_0 with it (ikawrakow/ik_llama.cpp#1034, #1509,
ggml-org/llama.cpp#21192). **Declared extrapolation**: the growth with the context. Who measured
long contexts differs by a hundred times, with q4_0 on Qwen 3.6 27B: hardly any growth to 64k tokens
(a median of 0.0018 nats, Anbeeld/beellama.cpp#109) and 0.58 nats on long documents (localbench);
the square root is in the middle. Of q8_0 on Qwen3.6 35B-A3B 0.0016 nats at 4,096 tokens and 0.0067
at 8,192 are known (defilantech/LLMKube#601), by two engines.

Not modelled: how many query heads share a KV head. The evidence points both ways: Llama 2 7B, where
none does, lost ten times what Mistral 7B did with four (exllamav2, doc/qcache_eval.md).
"""

from __future__ import annotations

from typing import NamedTuple

from localllm.core.model import LayerHparams, ModelSpec
from localllm.core.quality_facts import GAUSSIAN_ERROR

KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "iq4_nl", "q4_1", "q4_0")
"""What a cache may be stored as, the most exact first (``--cache-type-k`` of llama.cpp)."""

_EXACT = frozenset({"f32", "f16", "bf16"})
_MEASURED = frozenset({("q8_0", "f16"), ("f16", "q8_0"), ("q8_0", "q8_0"), ("f16", "q5_1")})

FLOOR = 0.0005
"""What any quantised type costs, in nats: V in q8_0 reads 0.00055 and K and V together 0.00079,
with the 0.00019 of the comparison itself taken off (#7412). The values' own error explains a
twentieth of it; the rest is the kernels'."""

V_WEIGHT = 0.73
"""Nats per unit of V's squared error: V in q5_1 reads 0.00157, in q8_0 0.00055 (#7412)."""

K_WEIGHT = 2.0
"""The same of K, rotated: Qwen3-30B-A3B +0.92 % and Llama 3.1 8B +1.39 % perplexity with K in q4_0,
Qwen3-8B +2.2 % with K and V; the geometric mean (#1034, #21192, #1509)."""

UNROTATED_K = 4.0
"""How much more K's error costs where it cannot be rotated: 1.6 times (#21192, q4_0), 3 and 12
times (#1034, q5_0 and q4_0); the geometric mean. V gains little by it (ik_llama.cpp#1527)."""

N_CTX_MEASURED = 512
GROWTH = 0.5


class Sensitivity(NamedTuple):
    """How much more than the reference an architecture suffers, and who says so."""

    overall: float = 1.0
    k: float = 1.0
    """Of K's own error, on top of ``overall``."""
    source: str = ""


_K_BIAS = Sensitivity(
    k=50.0,
    source="a large bias in K: q8_0 is harmless and four bits break it "
    "(TheTom/llama-cpp-turboquant#111, Qwen2.5 1.5B)",
)
SENSITIVE = {
    "qwen2": _K_BIAS,
    "qwen2vl": _K_BIAS,
    "qwen2moe": _K_BIAS,
    "gemma4": Sensitivity(
        overall=6.0,
        source="localbench: q8_0 0.108 and q4_0 0.55 nats on the 31B, under 0.04 and 0.087 on "
        "Qwen 3.6 27B",
    ),
    "gpt-oss": Sensitivity(
        overall=20.0,
        source="TheTom/llama-cpp-turboquant#305: q8_0 at 8,192 tokens keeps the likeliest token "
        "in 75 % of places; one report, of a fork, counted for less than it says",
    ),
}
"""By ``general.architecture``. Between architectures the losses differ more than between types."""

_ORDINARY = Sensitivity()


class KvExposure(NamedTuple):
    """How much of a model goes through its KV cache."""

    full: float = 1.0
    """Share of the blocks that attend to the whole context."""
    windowed: float = 0.0
    """Share of the blocks that attend to the last ``n_swa`` tokens."""
    n_swa: int = 0
    rotated_k: bool = True
    v_in_k: bool = False
    """K and V are one row, of K's type (multi-head latent attention)."""
    sensitivity: Sensitivity = _ORDINARY


def kv_exposure(model: ModelSpec) -> KvExposure:
    """Return what of a model depends on its cache. Recurrent blocks do not.

    ikawrakow/ik_llama.cpp#1509: Qwen3.5, with attention in one block of four, hardly suffers.
    """
    blocks = model.layers[: model.n_layer_main]
    n_swa = sum(_attends(block) and block.is_swa for block in blocks)
    n_full = sum(_attends(block) for block in blocks) - n_swa
    n_blocks = max(len(blocks), 1)
    return KvExposure(
        full=n_full / n_blocks,
        windowed=n_swa / n_blocks,
        n_swa=model.n_swa,
        rotated_k=model.n_embd_head_k % 64 == 0,
        v_in_k=model.is_mla,
        sensitivity=SENSITIVE.get(model.arch, _ORDINARY),
    )


def _attends(block: LayerHparams) -> bool:
    """Whether a block reads a cache: its own, or an earlier block's."""
    return block.has_kv or (block.n_head_kv > 0 and not block.is_recurrent)


_DENSE = KvExposure()


def kv_loss(
    type_k: str, type_v: str, *, n_ctx: int, exposure: KvExposure = _DENSE, size_factor: float = 1.0
) -> float:
    """Return the expected mean KL divergence from an f16 cache, in nats, at the end of a context.

    Never less for a longer context or a coarser type. ``size_factor``: ``quants.size_factor``, as
    for weights. Raises KeyError for a type that no cache has.
    """
    if exposure.v_in_k:
        type_v = type_k
    error_k, error_v = GAUSSIAN_ERROR[type_k], GAUSSIAN_ERROR[type_v]
    if type_k in _EXACT and type_v in _EXACT:
        return 0.0
    sensitive = exposure.sensitivity
    k_weight = K_WEIGHT * sensitive.k * (1.0 if exposure.rotated_k else UNROTATED_K)
    at_measured = FLOOR + k_weight * error_k + V_WEIGHT * error_v
    growth = exposure.full * _growth(n_ctx)
    growth += exposure.windowed * _growth(min(n_ctx, exposure.n_swa or n_ctx))
    return at_measured * growth * sensitive.overall * size_factor


def kv_measured(type_k: str, type_v: str, *, n_ctx: int) -> bool:
    """Whether a loss is a measured one: 16 bits, or a pair and a context that #7412 has."""
    if type_k in _EXACT and type_v in _EXACT:
        return True
    pair = ("f16" if type_k in _EXACT else type_k, "f16" if type_v in _EXACT else type_v)
    return pair in _MEASURED and n_ctx <= N_CTX_MEASURED


def _growth(n_ctx: int) -> float:
    return float((max(n_ctx, N_CTX_MEASURED) / N_CTX_MEASURED) ** GROWTH)
