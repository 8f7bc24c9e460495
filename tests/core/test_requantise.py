"""A model in a quantisation that is not at hand: sizes as published, and never a surprise."""

from __future__ import annotations

import pytest

from localllm.core.model import ModelSpec
from localllm.core.requantise import COMMON_QUANTS, requantised, smaller_quants
from localllm.units import GiB
from tests.support.specs import llama_3_8b, mixtral


@pytest.mark.parametrize(
    ("quant", "published_gib"),
    [("Q8_0", 7.95), ("Q6_K", 6.14), ("Q5_K_M", 5.33), ("Q4_K_M", 4.58), ("Q3_K_M", 3.74)],
)
def test_an_8b_weighs_what_llama_quantize_says(quant: str, published_gib: float) -> None:
    """Published sizes: llama.cpp, tools/quantize/README.md, Llama-3.1-8B."""
    other = requantised(llama_3_8b(quant="F16"), quant)
    assert other.quant == quant
    assert other.file_bytes / GiB == pytest.approx(published_gib, rel=0.01)


def test_the_way_there_and_back_ends_where_it_began() -> None:
    model = llama_3_8b(quant="F16")
    through_q4 = requantised(requantised(model, "Q4_K_M"), "Q8_0")
    assert through_q4.tensors == requantised(model, "Q8_0").tensors


@pytest.mark.parametrize("model", [llama_3_8b(), mixtral()], ids=lambda m: m.name)
def test_only_smaller_files_are_offered_the_largest_first(model: ModelSpec) -> None:
    sizes = smaller_quants(model)
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)
    assert "Q4_K_M" not in sizes
    for quant, about_bytes in sizes.items():
        exact = sum(tensor.n_bytes for tensor in requantised(model, quant).tensors)
        assert exact == pytest.approx(about_bytes, rel=0.25)
        assert exact < model.file_bytes


def test_norms_are_never_quantised() -> None:
    for quant in COMMON_QUANTS:
        other = requantised(llama_3_8b(), quant)
        assert {t.type for t in other.tensors if "norm" in t.name} == {"f32"}
