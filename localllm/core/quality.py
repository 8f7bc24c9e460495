"""What a choice of quantisation and KV types costs one model in quality, in numbers and in words.

The figures are ``quants.py``'s and ``kv_quality.py``'s; here they are put together for a model: its
size, its experts, what it was published in, and how much of it goes through the cache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from localllm.core.kv_quality import KvExposure, kv_exposure, kv_loss, kv_measured
from localllm.core.model import ModelSpec
from localllm.core.quants import TRAINED_IN, Quant, as_quant, is_published, size_factor

NATS_PER_LOG_PPL = 1.17
"""KL divergence over the logarithm of the perplexity ratio: Q4_K_M's in the scoreboard."""

Grade = Literal["indistinguishable", "slight", "noticeable", "large"]

GRADES: tuple[tuple[float, Grade], ...] = (
    (0.0, "indistinguishable"),
    (0.0077, "slight"),
    (0.05, "noticeable"),
    (0.25, "large"),
)
"""From how many nats on a word holds: the widest gaps between the formats of one bit width.

MMLU of Llama 3 8B falls from 65.2 to 65.1 above the first border (Q6_K), to 64.3-64.9 above the
second (Q5_K to IQ4_XS), to 59-63 above the third (three bits), and to 58 and less below it
(github.com/matt-c1/llama-3-quant-comparison)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What a choice of weights and cache costs against the published model."""

    kld: float
    """Mean KL divergence in nats; weights and cache err independently, so they add up."""
    ppl_increase: float
    """Relative rise of the perplexity: 0.024 is 2.4 %."""
    weights_kld: float
    kv_kld: float
    measured: bool
    """The figures behind it were measured, on the reference model; False: some interpolated."""
    source: str


class Fragility(NamedTuple):
    """What a model's losses depend on besides the choice: computed once, for a search."""

    n_params: int
    n_params_active: int
    """Parameters that one token passes: fewer in a mixture of experts."""
    published: str | None
    """The quantisation that the model was published in, if not 16 bits or FP8."""
    size_factor: float
    kv: KvExposure


def fragility(model: ModelSpec) -> Fragility:
    """Return what a model's losses depend on."""
    active = n_params_active(model)
    return Fragility(
        n_params=model.n_params,
        n_params_active=active,
        published=published_quant(model),
        size_factor=size_factor(model.n_params, active),
        kv=kv_exposure(model),
    )


def n_params_active(model: ModelSpec) -> int:
    """Return the parameters that one token passes: all but the experts that are not used."""
    if not model.n_expert:
        return model.n_params
    in_experts = sum(tensor.n_elements for tensor in model.tensors if "exps" in tensor.name)
    return model.n_params - in_experts + in_experts * model.n_expert_used // model.n_expert


def published_quant(model: ModelSpec) -> str | None:
    """Return the quantisation whose values are the model's own, or None for 16 bits and FP8.

    gpt-oss is published in MXFP4, BitNet ternary; a file in a type that is only ever trained in,
    or a Q4_0 that says "qat", is what was published.
    """
    if model.arch == "gpt-oss":
        return "MXFP4"
    if model.arch.startswith("bitnet"):
        return "TQ2_0"
    if model.quant in TRAINED_IN:
        return model.quant
    if model.quant == "Q4_0" and "qat" in model.name.lower():
        return "Q4_0"
    return None


def loss_of(
    traits: Fragility, quant: Quant | str, *, type_k: str = "f16", type_v: str = "f16", n_ctx: int
) -> Loss:
    """Return what a quantisation and KV types cost a model at a context length: microseconds.

    Raises KeyError for an unknown quantisation or KV type.
    """
    quant = as_quant(quant)
    exact = is_published(quant.name, traits.published)
    weights = 0.0 if exact else quant.mean_kld * traits.size_factor
    log_ppl = 0.0 if exact else math.log(quant.ppl_ratio) * traits.size_factor
    kv = kv_loss(type_k, type_v, n_ctx=n_ctx, exposure=traits.kv, size_factor=traits.size_factor)
    return Loss(
        kld=weights + kv,
        ppl_increase=math.expm1(log_ppl + kv / NATS_PER_LOG_PPL),
        weights_kld=weights,
        kv_kld=kv,
        measured=(quant.measured or exact) and kv_measured(type_k, type_v, n_ctx=n_ctx),
        source="as published" if exact else quant.source,
    )


def total_loss(
    model: ModelSpec, quant: Quant | str, *, type_k: str = "f16", type_v: str = "f16", n_ctx: int
) -> Loss:
    """Return the same for a model; a search calls ``fragility`` once, and ``loss_of``."""
    return loss_of(fragility(model), quant, type_k=type_k, type_v=type_v, n_ctx=n_ctx)


def grade(kld: float) -> Grade:
    """Return the word for a loss."""
    return next(word for least, word in reversed(GRADES) if kld >= least)


def describe_loss(loss: Loss) -> str:
    """Return a loss in words: ``slight (+2.4 % perplexity)``."""
    word, percent = grade(loss.kld), 100 * loss.ppl_increase
    if loss.kld == 0:
        return "none"
    if percent < 0.05:
        return word
    if percent >= 1000:
        return f"{word} (perplexity x{1 + loss.ppl_increase:.0f})"
    return f"{word} (+{percent:.{0 if percent >= 10 else 1}f} % perplexity)"
