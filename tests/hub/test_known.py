"""Models that are planned from a recorded shape."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from localllm.errors import UsageError
from localllm.hub.gguf import read_header
from localllm.hub.known import KnownModel, known_model, known_names, known_quants, nearest_names
from localllm.hub.known_schema import names_in
from localllm.hub.spec import model_spec

PROFILES = Path(__file__).parents[2] / "profiles" / "models"


def known(name: str) -> KnownModel:
    model = known_model(name)
    assert model is not None
    return model


def test_a_name_without_a_quantisation_is_planned_in_q4_k_m() -> None:
    assert known("llama-3-8b").name == "llama-3-8b:Q4_K_M"
    assert known("gpt-oss-20b").spec.quant == "MXFP4"


@pytest.mark.parametrize(
    "name",
    ["Llama-3-8B", "llama3:8b", "llama_3_8b", "Meta-Llama-3-8B-Instruct", "llama-3-8b:q4_k_m"],
)
def test_case_dashes_and_the_words_of_tuning_do_not_matter(name: str) -> None:
    assert known(name).name == "llama-3-8b:Q4_K_M"


def test_an_unknown_name_is_none_and_has_near_ones() -> None:
    assert known_model("lama-3-8") is None
    assert known_model("") is None
    assert known_model(":Q4_K_M") is None
    assert "llama-3-8b" in nearest_names("lama-3-8")
    assert nearest_names("zzzzzzzz") == []


@pytest.mark.parametrize("quant", ["Q4_K_XL", "UD-Q4_K_XL", "Q9_Z", "Q3_K_L_XL"])
def test_an_unknown_quantisation_of_a_known_model_is_refused_with_those_that_exist(
    quant: str,
) -> None:
    with pytest.raises(UsageError) as caught:
        known_model(f"llama-3-8b:{quant}")
    assert "Q4_K_M" in str(caught.value.hint)


def test_every_quantisation_has_a_size_and_better_ones_are_larger() -> None:
    model = known("llama-3-8b")
    sizes = [model.with_quant(quant).spec.file_bytes for quant in known_quants()]
    assert all(size > 1e9 for size in sizes)
    assert sizes[0] > sizes[-1] * 10
    for better, worse in (("Q6_K", "Q5_K_M"), ("Q5_K_M", "Q4_K_M"), ("Q4_K_M", "Q3_K_M")):
        assert model.with_quant(better).spec.file_bytes > model.with_quant(worse).spec.file_bytes


def test_the_written_file_says_the_same_as_the_recorded_shape(tmp_path: Path) -> None:
    model = known("qwen3-30b-a3b:Q5_K_M")
    (path,) = model.header_files(tmp_path, vocabulary=False)
    spec = model_spec(read_header(path), source="x", stem="x")
    assert spec.tensors == model.spec.tensors
    assert spec.layers == model.spec.layers
    assert path.stat().st_size == model.header.file_bytes
    assert path.stat().st_blocks * 512 < 1_000_000


def test_every_name_and_alias_leads_to_one_model() -> None:
    seen: dict[str, str] = {}
    for path in PROFILES.glob("*.toml"):
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        quick = names_in(path.read_text(encoding="utf-8"))
        assert quick == {name: model.get("aliases", []) for name, model in data["models"].items()}
        for name, aliases in quick.items():
            for each in (name, *aliases):
                key = each.lower().replace("-", "").replace(".", "").replace(":", "")
                assert seen.setdefault(key, name) == name, f"{each} is in two families"
                assert known(each).facts.name == name


@pytest.mark.parametrize("name", known_names())
def test_every_recorded_shape_says_where_it_is_from(name: str) -> None:
    facts = known(name).facts
    assert facts.source.startswith("https://")
    assert facts.publisher and facts.licence and facts.title
    assert facts.checked >= "2026-11-21"
