"""Models that are planned from a recorded shape."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from localllm.errors import IntegrityError, UsageError
from localllm.hub.gguf.reader import read_header
from localllm.hub.known.index import NamesOfModel, names_in
from localllm.hub.known.models import (
    KnownModel,
    known_model,
    known_name,
    known_quants,
    nearest_names,
)
from localllm.hub.known.schema import read_recorded
from localllm.hub.known.tensors import block_list, dimension
from localllm.hub.spec.model_spec import model_spec

PROFILES = Path(__file__).parents[3] / "profiles" / "models"


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


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("llama3.1:8b", "llama-3.1-8b"),
        ("qwen2.5-coder:32b", "qwen2.5-coder-32b"),
        ("gemma3:12b", "gemma-3-12b"),
        ("deepseek-r1:32b", "deepseek-r1-distill-qwen-32b"),
        ("phi4", "phi-4"),
        ("Qwen3 30B A3B", "qwen3-30b-a3b"),
        ("Mistral-7B-Instruct-v0.2", "mistral-7b-v0.2"),
        ("google_gemma-3-27b-it", "gemma-3-27b"),
        ("qwen-34b", None),
        ("llama-38b", None),
    ],
)
def test_names_as_they_are_written_elsewhere(name: str, meant: str | None) -> None:
    assert known_name(name) == meant


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
        assert quick == {
            name: NamesOfModel(tuple(model.get("aliases", ())), tuple(model.get("variants", ())))
            for name, model in data["models"].items()
        }
        for name, others in quick.items():
            for each in (name, *others.aliases, *others.variants):
                assert seen.setdefault(each.lower(), name) == name, f"{each} is in two families"
                assert known_name(each) == name


def test_every_recorded_shape_says_where_it_is_from() -> None:
    for path in PROFILES.glob("*.toml"):
        for name in names_in(path.read_text(encoding="utf-8")):
            facts = read_recorded(PROFILES, path.name, name)
            assert facts.source.startswith("https://"), name
            assert facts.publisher and facts.licence and facts.title, name
            assert facts.repo and facts.repo.count("/") == 1, name
            assert facts.checked >= "2026-11-21", name


def test_a_model_like_another_takes_over_figures_and_not_names() -> None:
    coder, base = known("qwen2.5-coder-7b"), known("qwen2.5-7b")
    assert [(each.name, each.type, each.shape) for each in coder.spec.tensors] == [
        (each.name, each.type, each.shape) for each in base.spec.tensors
    ]
    assert coder.facts.repo != base.facts.repo
    assert known_name("qwen2.5") == "qwen2.5-7b"
    small, wide = known("qwen3-30b-a3b"), known("qwen3-30b-a3b-2507")
    assert (small.spec.n_ctx_train, wide.spec.n_ctx_train) == (40960, 262144)


def test_kinds_of_blocks_follow_the_publishers_pattern() -> None:
    layers = known("nemotron-nano-9b-v2").spec.layers
    text = "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-"
    assert [layer.has_kv for layer in layers] == [sign == "*" for sign in text]
    assert [layer.is_recurrent for layer in layers] == [sign == "M" for sign in text]
    assert [layer.n_ff > 0 for layer in layers] == [sign == "-" for sign in text]


def write_family(folder: Path, model: str, table: str = "") -> None:
    (folder / "tables").mkdir()
    (folder / "tables" / "t.toml").write_text(
        table or 'arch = "llama"\n[model.all]\n"output_norm.weight" = ["n_embd"]\n'
    )
    (folder / "f.toml").write_text(
        'name = "F"\npublisher = "P"\nlicence = "mit"\nchecked = "2026-11-21"\n'
        'vocabulary_bytes = 1\ntable = "t"\n[models."m"]\ntitle = "M"\n'
        f'source = "https://example.org"\n{model}\n'
    )


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("n_layers = 4", "n_layer is missing"),
        ("n_layer = 4\nn_embed = 8", '"n_embed" is no hyperparameter'),
        ("n_layer = 0", "n_layer is missing"),
        ('n_layer = 4\nblocks = { a = "5-" }', "names blocks"),
        ('n_layer = 4\nblocks = { a = "0" }\nn_ff = { a = 1 }', "0 values for block 1"),
        ("n_layer = 4\nn_ff = [1, 2]", "lists 2 blocks of 4"),
        ('n_layer = 4\npattern = { text = "MM", M = "a" }', "2 blocks of 4"),
        ('n_layer = 4\npattern = { text = "MM-M", M = "a" }', "4 blocks of 4"),
        ('like = "n"', "must be like a model"),
        ('n_layer = 4\naliases = "x"', "aliases must be a list"),
        ("n_layer = 4\ngguf = [1]", "repositories must be a list"),
        ('n_layer = 4\nvariants."a" = "b"', "repositories must be a list"),
    ],
)
def test_a_slip_in_a_family_is_refused(tmp_path: Path, model: str, complaint: str) -> None:
    write_family(tmp_path, model)
    with pytest.raises(IntegrityError, match=complaint):
        read_recorded(tmp_path, "f.toml", "m")


def test_a_table_that_asks_for_what_the_shape_does_not_give_is_refused() -> None:
    with pytest.raises(IntegrityError, match='asks for "n_ff"'):
        dimension("2 * n_ff", {"n_embd": 8}, 0)
    assert dimension("2 * n_ff + n_embd / 4 - 1", {"n_embd": 8, "n_ff": [3, 5]}, 1) == 11


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("0-", {0, 1, 2, 3, 4, 5, 6, 7}),
        ("3-/4", {3, 7}),
        ("not 3-/4", {0, 1, 2, 4, 5, 6}),
        ("1,4-5", {1, 4, 5}),
        ("7", {7}),
    ],
)
def test_lists_of_blocks(text: str, blocks: set[int]) -> None:
    assert block_list(text, 8) == blocks


@pytest.mark.parametrize("text", ["", "8", "5-2", "a-b", "1-/0", "-1"])
def test_what_is_no_list_of_blocks_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError):
        block_list(text, 8)
