"""Bits per weight and quality loss of every GGUF quantisation, by model size.

What a model loses is the mean KL divergence of its next-token distribution from the published
model's, in nats: unlike perplexity it cannot improve by luck. The figures are those of Llama 3 8B
(``quality_facts.py``); for other sizes they are scaled by a power of the parameter count:

    loss = loss of Llama 3 8B * (n_params / 8.03e9) ** -0.2

The form is that of arXiv:2411.17691 (power law in N); the exponent is ours, from published
perplexities of one recipe with importance matrices: 0.23 within Qwen2.5 1.5B to 32B, 0.17 from 8B
to Llama 3.3 70B, 0.15 to Qwen2.5 1.5B. A mixture of experts counts by the parameters that a token
passes: Llama 4 Scout (109B, 17B active) loses what a 17B would, not what a 109B would.

How far to trust it: the order of quantisations is the same for nearly every model. The size of the
loss is not: at equal size models differ by two to three times (EXAONE 3.5 7.8B loses 0.4 of what
Llama 3 8B does). One model's loss, its cache included, is ``quality.py``'s.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from localllm.core.quality_facts import (
    BASE_PPL,
    BITS,
    BITS_BY_RECIPE,
    BITS_SOURCE,
    F16_OF_BF16,
    GAUSSIAN_ERROR,
    SCOREBOARD,
    SCOREBOARD_SOURCE,
)

REFERENCE_PARAMS = 8.03e9
"""Llama 3 8B."""

SIZE_EXPONENT = 0.2

OFFERED = (
    "Q8_0",
    "Q6_K",
    "Q5_K_M",
    "Q4_K_M",
    "Q4_K_S",
    "IQ4_XS",
    "Q3_K_M",
    "IQ3_M",
    "IQ3_XXS",
    "Q2_K",
    "IQ2_M",
    "IQ2_S",
    "IQ2_XS",
    "IQ2_XXS",
)
"""What publishers commonly offer, the largest first; ``requantise.py`` makes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quant:
    """One quantisation, as people name it, with its figures for Llama 3 8B."""

    name: str
    bits_per_weight: float
    """Of a whole file: some tensors have more than the name says."""
    ppl_ratio: float
    """Perplexity over that of F16."""
    mean_kld: float
    """Mean KL divergence from F16, in nats."""
    measured: bool
    """False: interpolated from the error of the type's values."""
    source: str


def _measured(name: str) -> Quant:
    ppl, mean_kld, _with_imatrix = SCOREBOARD[name]
    bits = BITS.get(name)
    return Quant(
        name=name,
        bits_per_weight=bits or BITS_BY_RECIPE[name],
        ppl_ratio=ppl / BASE_PPL,
        mean_kld=mean_kld,
        measured=True,
        source=SCOREBOARD_SOURCE if bits is None else f"{SCOREBOARD_SOURCE}; {BITS_SOURCE}",
    )


def _wide(name: str, ppl_ratio: float, mean_kld: float) -> Quant:
    return Quant(
        name=name,
        bits_per_weight=BITS_BY_RECIPE[name],
        ppl_ratio=ppl_ratio,
        mean_kld=mean_kld,
        measured=True,
        source='llama.cpp tools/perplexity/README.md, "BF16 vs. FP16", 83330d8c',
    )


def _interpolated(name: str) -> Quant:
    """Figures of a type that nobody measured on an 8B: by its error against q4_0's.

    Losses follow it over two orders of magnitude: Q5_1, Q5_0, Q4_1 and IQ1_S within 1.3 times.
    """
    error = GAUSSIAN_ERROR[name.lower()] / GAUSSIAN_ERROR["q4_0"]
    mean_kld = SCOREBOARD["Q4_0"][1] * error
    return Quant(
        name=name,
        bits_per_weight=BITS_BY_RECIPE[name],
        ppl_ratio=math.exp(mean_kld),
        mean_kld=mean_kld,
        measured=False,
        source=f"the error of {name.lower()} against that of q4_0, all matrices in it",
    )


_ALL = (
    _wide("F32", 1.0, 0.0),
    _wide("BF16", 1.0, 0.0),
    _wide("F16", *F16_OF_BF16),
    *map(_measured, SCOREBOARD),
    # NVFP4's agrees with ggml-org/llama.cpp#23572 (between Q4_0 and Q3_K); the last four are for
    # models trained in them, and ruin any other (compilade in ggml-org/llama.cpp#8151)
    *map(_interpolated, ("NVFP4", "MXFP4", "Q1_0", "Q2_0", "TQ2_0", "TQ1_0")),
)

QUANTS: Mapping[str, Quant] = {quant.name: quant for quant in _ALL}
"""Every quantisation that llama.cpp makes or reads, by its usual name."""

_TERNARY = frozenset({"TQ1_0", "TQ2_0"})
TRAINED_IN = _TERNARY | {"Q1_0", "Q2_0"}
"""Only models trained with such weights are published in them."""


def quant_named(name: str) -> Quant | None:
    """Return the quantisation that a name or a file name ends with, or the nearest to it.

    Understands any case and separators (``q4-k-m``), llama.cpp's aliases (``Q4_K``) and publishers'
    mixtures, which are the base recipe with more bits for some tensors: ``UD-Q4_K_XL`` and
    ``Q4_K_L`` give Q4_K_M. None for a name without one, and for other engines' formats.
    """
    tokens = re.findall(_TOKEN, name.upper().replace("-", "_").replace(".", "_"))
    if not tokens:
        return None
    dynamic, token = tokens[-1]
    if dynamic and token in _TERNARY:
        return QUANTS["IQ1_S"]  # Unsloth's name for a mixture of one-bit types, not ternary
    if token in QUANTS:
        return QUANTS[token]
    if token in _ALIASES:
        return QUANTS[_ALIASES[token]]
    return QUANTS.get(_K_BASE.get(token[:4], "") or token[:4])


_TOKEN = (
    r"(?<![A-Z0-9])(UD_)?(IQ[1-4]_(?:XXS|XS|NL|S|M)|Q[2-8]_K(?:_(?:XXL|XL|L|M|S|XS))?"
    r"|Q[1-8]_[01](?:_[48]_[48])?|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32)(?![A-Z0-9])"
)
_ALIASES = {
    "FP16": "F16",
    "FP32": "F32",
    "MXFP4_MOE": "MXFP4",
    "Q3_K_XL": "Q3_K_L",
    "Q3_K_XXL": "Q3_K_L",
    "Q3_K_XS": "IQ3_XS",  # which took its place, and its number
    "Q4_K_XS": "Q4_K_S",
    "Q5_K_XS": "Q5_K_S",
}
_K_BASE = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "Q8_K": "Q8_0"}


def size_factor(n_params: float, n_params_active: float | None = None) -> float:
    """Return how much a model loses against one of 8B: less the larger it is."""
    return float(((n_params_active or n_params) / REFERENCE_PARAMS) ** -SIZE_EXPONENT)


def quality_loss(
    quant: Quant | str,
    n_params: float,
    n_params_active: float | None = None,
    *,
    published: str | None = None,
) -> float:
    """Return the expected mean KL divergence from the published weights, in nats.

    ``published``: the quantisation they were published in; None for 16 bits and FP8. Raises
    KeyError for a quantisation that ``quant_named`` does not know.
    """
    quant = as_quant(quant)
    if is_published(quant.name, published):
        return 0.0
    return quant.mean_kld * size_factor(n_params, n_params_active)


def ppl_increase(
    quant: Quant | str,
    n_params: float,
    n_params_active: float | None = None,
    *,
    published: str | None = None,
) -> float:
    """Return the expected relative rise of the perplexity: 0.024 is 2.4 %.

    As ``quality_loss``; its logarithm scales with the size.
    """
    quant = as_quant(quant)
    if is_published(quant.name, published):
        return 0.0
    return math.expm1(math.log(quant.ppl_ratio) * size_factor(n_params, n_params_active))


def as_quant(quant: Quant | str) -> Quant:
    """Return a quantisation given by name or as it is. Raises KeyError for an unknown name."""
    if isinstance(quant, Quant):
        return quant
    found = QUANTS.get(quant) or quant_named(quant)
    if found is None:
        raise KeyError(quant)
    return found


def is_published(name: str, published: str | None) -> bool:
    """Whether a file holds the published weights exactly: theirs, or 16 bits of fewer."""
    if published is None:
        return False
    both = (name, published)
    return name == published or name in ("F16", "BF16", "F32") or all(n in _TERNARY for n in both)
