"""Bits and losses of quantisations: as published, in order, and under the names people use."""

from __future__ import annotations

import math
from statistics import mean, median

import pytest

from localllm.core.quality_facts import GAUSSIAN_ERROR, SCOREBOARD
from localllm.core.quant_mix import DEFAULT_TYPES
from localllm.core.quants import (
    OFFERED,
    QUANTS,
    REFERENCE_PARAMS,
    SIZE_EXPONENT,
    ppl_increase,
    quality_loss,
    quant_named,
    size_factor,
)
from localllm.core.requantise import COMMON_QUANTS, requantised
from tests.support.specs import llama_3_8b

FAMILIES = {
    "k": "Q2_K_S Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K Q8_0 F16 F32",
    "i": "IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ3_XXS IQ3_XS IQ3_S IQ3_M IQ4_XS IQ4_NL Q8_0",
    "legacy": "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 F16 F32",
}
"""The smallest first."""

QWEN_2_5 = {
    1.54e9: {"Q4_K_M": 10.4628, "IQ3_XXS": 12.3935, "Q2_K": 14.1657, "IQ2_M": 15.4838},
    3.09e9: {"Q4_K_M": 9.2305, "IQ3_XXS": 10.6049, "Q2_K": 11.8001, "IQ2_M": 12.8779},
    14.8e9: {"Q4_K_M": 6.1311, "IQ3_XXS": 6.9285, "Q2_K": 7.6005, "IQ2_M": 7.7261},
    32.8e9: {"Q4_K_M": 5.6224, "IQ3_XXS": 6.1570, "Q2_K": 6.6603, "IQ2_M": 6.7268},
}
"""Perplexities of Qwen2.5 Instruct by size: huggingface.co/ThomasBaruzier/Qwen2.5-*-Instruct-GGUF,
perplexity.md, all with an importance matrix."""

OTHERS = {
    70.6e9: {"F16": 5.4539, "Q6_K": 5.4699, "Q5_K_M": 5.4842, "Q4_K_M": 5.5582, "IQ4_XS": 5.6062}
    | {"Q3_K_M": 5.8430, "IQ3_M": 5.7853, "IQ3_XXS": 6.1197, "Q2_K": 6.7633, "IQ2_M": 6.8673},
    1.54e9: {"F16": 10.1512, "Q6_K": 10.2030, "Q5_K_M": 10.2529, "Q4_K_M": 10.4628}
    | {"IQ4_XS": 10.5302, "Q3_K_M": 11.3529, "IQ3_M": 11.4058, "IQ3_XXS": 12.3935}
    | {"Q2_K": 14.1657, "IQ2_M": 15.4838},
}
"""The same author's Llama 3.3 70B and Qwen2.5 1.5B."""

SCOUT = {"IQ1_M": 0.933, "IQ2_XXS": 0.664, "Q2_K": 0.332, "IQ3_XXS": 0.244}
"""Mean KL divergence of Llama 4 Scout, 109B with 17B active, by llama.cpp's own recipes:
huggingface.co/blog/bartowski/llama4-scout-off. Q2_K is with q8_0 at both ends ("Q2_K_L")."""


def test_every_quantisation_that_llama_cpp_makes_has_its_figures() -> None:
    assert set(DEFAULT_TYPES) <= set(QUANTS)
    for name, quant in QUANTS.items():
        assert quant.name == name
        assert quant.source
        assert quant.measured == (name in SCOREBOARD or name in ("F32", "BF16", "F16"))
        assert quant.mean_kld >= 0
        assert quant.ppl_ratio >= 1


@pytest.mark.parametrize(
    ("name", "kld", "ppl_rise"),
    [
        ("Q8_0", 0.001355, 0.002650),
        ("Q6_K", 0.005452, 0.021748),
        ("Q5_K_M", 0.010762, 0.056974),
        ("Q4_K_M", 0.028152, 0.151303),
        ("Q4_0", 0.071940, 0.468514),
        ("Q2_K", 0.332223, 2.416191),
        ("IQ1_S", 2.254554, 54.462959),
    ],
)
def test_an_8b_loses_what_llama_cpp_measured(name: str, kld: float, ppl_rise: float) -> None:
    """The columns KLD and delta PPL of tools/perplexity/README.md, over F16's 6.2316."""
    assert quality_loss(name, REFERENCE_PARAMS) == pytest.approx(kld)
    assert ppl_increase(name, REFERENCE_PARAMS) == pytest.approx(ppl_rise / 6.231636, rel=1e-3)


@pytest.mark.parametrize("name", sorted(set(DEFAULT_TYPES) - {"MXFP4"}))
def test_bits_are_those_of_the_recipe(name: str) -> None:
    """MXFP4's are a mixture of experts': a dense model gets q8_0 instead."""
    model = requantised(llama_3_8b(quant="F16"), name)
    n_bits = 8 * sum(tensor.n_bytes for tensor in model.tensors)
    assert n_bits / model.n_params == pytest.approx(QUANTS[name].bits_per_weight, rel=0.001)


@pytest.mark.parametrize("family", FAMILIES)
def test_more_bits_never_lose_more_within_a_family(family: str) -> None:
    quants = [QUANTS[name] for name in FAMILIES[family].split()]
    bits = [quant.bits_per_weight for quant in quants]
    assert sorted(bits) == pytest.approx(bits, rel=0.02)  # Q2_K_S is no smaller than IQ2_M
    for n_params in (0.5e9, 8e9, 400e9):
        losses = [quality_loss(quant, n_params) for quant in quants]
        rises = [ppl_increase(quant, n_params) for quant in quants]
        assert losses == sorted(losses, reverse=True)
        # F16 of a BF16 model reads +0.040 %, Q8_0 +0.043 %: both within their error of 0.016 %
        assert rises == sorted(rises, reverse=True)


def test_a_larger_model_never_loses_more() -> None:
    sizes = [10 ** (8 + i / 4) for i in range(18)]
    for quant in QUANTS.values():
        losses = [quality_loss(quant, n_params) for n_params in sizes]
        rises = [ppl_increase(quant, n_params) for n_params in sizes]
        assert losses == sorted(losses, reverse=True)
        assert rises == sorted(rises, reverse=True)


def test_the_power_of_the_size_is_what_one_family_shows() -> None:
    """Slope of log(log(PPL / PPL of Q4_K_M)) over log(n_params), per quantisation: 0.17-0.25."""
    sizes = [math.log(n_params) for n_params in QWEN_2_5]
    slopes = []
    for quant in ("IQ3_XXS", "Q2_K", "IQ2_M"):
        losses = [math.log(math.log(ppl[quant] / ppl["Q4_K_M"])) for ppl in QWEN_2_5.values()]
        pairs = list(zip(sizes, losses, strict=True))
        across = mean(sizes)
        covariance = sum((x - across) * (y - mean(losses)) for x, y in pairs)
        slopes.append(covariance / sum((x - across) ** 2 for x in sizes))
    assert -mean(slopes) == pytest.approx(SIZE_EXPONENT, abs=0.05)


@pytest.mark.parametrize("n_params", OTHERS)
def test_perplexities_of_other_models_are_met(n_params: float) -> None:
    """In the logarithm: each within 1.6 times, the middle one within 1.25 times."""
    ratios = [
        math.log1p(ppl_increase(quant, n_params)) / math.log(ppl / OTHERS[n_params]["F16"])
        for quant, ppl in OTHERS[n_params].items()
        if quant != "F16"
    ]
    assert min(ratios) > 1 / 1.6
    assert max(ratios) < 1.6
    assert 1 / 1.25 < median(ratios) < 1.25


def test_a_mixture_of_experts_loses_as_its_active_parameters_do() -> None:
    def off_by(n_params_active: float | None) -> float:
        pairs = [(quality_loss(q, 109e9, n_params_active), kld) for q, kld in SCOUT.items()]
        return median(abs(math.log(ours / kld)) for ours, kld in pairs)

    assert off_by(17e9) < math.log(1.3)
    assert off_by(None) > math.log(1.4)


def test_what_nobody_measured_follows_the_error_of_the_type() -> None:
    """The law that interpolates: nats are to q4_0's as squared errors are."""
    for name in ("Q5_1", "Q5_0", "Q4_1"):
        error = GAUSSIAN_ERROR[name.lower()] / GAUSSIAN_ERROR["q4_0"]
        by_law = QUANTS["Q4_0"].mean_kld * error
        assert by_law == pytest.approx(QUANTS[name].mean_kld, rel=0.3)
    # ggml-org/llama.cpp#23572: NVFP4 is between Q4_0 and Q3_K, which has 0.102 without a matrix
    assert QUANTS["Q4_0"].mean_kld < QUANTS["NVFP4"].mean_kld < 0.102
    assert QUANTS["MXFP4"].mean_kld > QUANTS["NVFP4"].mean_kld


def test_what_a_model_was_published_in_loses_nothing() -> None:
    assert quality_loss("MXFP4", 21e9, 3.6e9, published="MXFP4") == 0
    assert quality_loss("BF16", 21e9, 3.6e9, published="MXFP4") == 0
    assert quality_loss("TQ1_0", 3e9, published="TQ2_0") == 0
    assert quality_loss("Q4_K_M", 21e9, 3.6e9, published="MXFP4") > 0
    assert quality_loss("MXFP4", 8e9) > quality_loss("Q4_K_M", 8e9)


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("q4_k_m", "Q4_K_M"),
        ("UD-Q4_K_XL", "Q4_K_M"),
        ("Q4_K_L", "Q4_K_M"),
        ("Q6_K_L", "Q6_K"),
        ("Q8_K_XL", "Q8_0"),
        ("UD-Q2_K_XL", "Q2_K"),
        ("Q3_K_XL", "Q3_K_L"),
        ("i1-IQ3_XXS", "IQ3_XXS"),
        ("UD-IQ1_S", "IQ1_S"),
        ("UD-TQ1_0", "IQ1_S"),
        ("TQ1_0", "TQ1_0"),
        ("Q4_K", "Q4_K_M"),
        ("q3_K", "Q3_K_M"),
        ("Q4_0_4_8", "Q4_0"),
        ("MXFP4_MOE", "MXFP4"),
        ("fp16", "F16"),
        ("Meta-Llama-3.1-8B-Instruct-Q5_K_M.gguf", "Q5_K_M"),
        ("gemma-3-27b-it-qat-q4_0.gguf", "Q4_0"),
        ("Qwen3-32B.i1-IQ4_XS.gguf", "IQ4_XS"),
        ("DeepSeek-R1-BF16-00001-of-00030.gguf", "BF16"),
        ("model-f16-Q4-K-S", "Q4_K_S"),
    ],
)
def test_publishers_names_are_understood(name: str, means: str) -> None:
    quant = quant_named(name)
    assert quant is not None
    assert quant.name == means


@pytest.mark.parametrize("name", ["", "large", "IQ4_KS", "IQ5_K", "EXL2", "Q3_0", "4bit", "AWQ"])
def test_other_engines_formats_are_not_guessed(name: str) -> None:
    assert quant_named(name) is None
    with pytest.raises(KeyError):
        quality_loss(name, 8e9)


def test_every_name_means_itself_in_any_case() -> None:
    for name, quant in QUANTS.items():
        assert quant_named(name) is quant
        assert quant_named(name.lower()) is quant


def test_what_is_offered_goes_from_large_to_small_and_can_be_made() -> None:
    bits = [QUANTS[name].bits_per_weight for name in OFFERED]
    assert bits == sorted(bits, reverse=True)
    assert set(COMMON_QUANTS) <= set(OFFERED)
    for name in OFFERED:
        assert requantised(llama_3_8b(), name).quant == name


def test_an_8b_is_the_reference() -> None:
    assert size_factor(REFERENCE_PARAMS) == 1
    assert size_factor(REFERENCE_PARAMS * 32) == pytest.approx(0.5)  # 32 ** -0.2
    assert size_factor(30e9, 3e9) == size_factor(3e9)
