"""A model as a publisher offers it: the listing's size, llama.cpp's types."""

from __future__ import annotations

import pytest

from localllm.core.as_offered import as_offered
from localllm.core.model import ModelSpec
from localllm.hub.known.models import known_model


def spec_of(name: str) -> ModelSpec:
    found = known_model(name)
    assert found is not None
    return found.spec


@pytest.mark.parametrize("quant", ["Q8_0", "Q4_K_M", "IQ3_XXS"])
def test_a_recipe_of_llama_cpp_of_its_usual_size_is_that_recipe(quant: str) -> None:
    known, other = spec_of(f"llama-3-8b:{quant}"), spec_of("llama-3-8b:Q5_K_M")
    offered = as_offered(other, quant, known.file_bytes)
    assert offered.quant == quant and offered.file_bytes == known.file_bytes
    assert [t.type for t in offered.tensors] == [t.type for t in known.tensors]
    for mine, theirs in zip(offered.tensors, known.tensors, strict=True):
        assert mine.n_bytes == pytest.approx(theirs.n_bytes, rel=1e-3)


@pytest.mark.parametrize("quant", ["UD-Q4_K_XL", "Q4_K_L", "?"])
def test_a_mixture_has_the_bytes_that_the_listing_says(quant: str) -> None:
    model = spec_of("llama-3-8b:Q4_K_M")
    offered = as_offered(model, quant, 5_000_000_000)
    header = model.file_bytes - sum(t.n_bytes for t in model.tensors)
    assert offered.quant == quant
    assert header + sum(t.n_bytes for t in offered.tensors) == pytest.approx(5e9, rel=1e-6)
    norms = [t for t in offered.tensors if t.name.endswith("_norm.weight")]
    assert norms and all(t.n_bytes == 4 * t.n_elements for t in norms)


def test_a_size_that_cannot_be_changes_no_tensor() -> None:
    model = spec_of("llama-3-8b:Q4_K_M")
    offered = as_offered(model, "Q4_K_M", 1000)
    assert [t.n_bytes for t in offered.tensors] == [t.n_bytes for t in model.tensors]
