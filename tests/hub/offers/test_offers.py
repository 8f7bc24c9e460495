"""What a repository's files are, by their names and sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.core.quant_mix import DEFAULT_TYPES
from localllm.hub.offers.files import is_told_apart
from localllm.hub.offers.offers import (
    Offers,
    find_offer,
    no_such_offer,
    offer_at,
    offers_of,
    same_quant,
)
from localllm.hub.offers.quant_label import canonical_quant, read_label
from localllm.hub.repo_files import RepoFile

GB = 10**9


def listing(*paths: str | tuple[str, int]) -> list[RepoFile]:
    """Files with a size each: 4 GB where none is given."""
    sized = [(path, 4 * GB) if isinstance(path, str) else path for path in paths]
    return [RepoFile(path=path, n_bytes=n_bytes) for path, n_bytes in sized]


def quants(offers: Offers) -> list[str]:
    return [offer.quant for offer in offers.models]


@pytest.mark.parametrize(
    ("path", "quant"),
    [
        ("Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("Meta-Llama-3-8B-Instruct.Q5_K_M.gguf", "Q5_K_M"),
        ("qwen2.5-3b-instruct-q4_k_m.gguf", "Q4_K_M"),
        ("llama-2-7b.Q4_0.gguf", "Q4_0"),
        ("ggml-model-q4_0.gguf", "Q4_0"),
        ("ggml-model-f16.gguf", "F16"),
        ("ggml-model-i2_s.gguf", "I2_S"),
        ("Merged-RP-Stew-V2-34B.i1-IQ4_XS.gguf", "I1-IQ4_XS"),
        ("Qwen3-30B-A3B-abliterated.i1-IQ3_XXS.gguf", "I1-IQ3_XXS"),
        ("gemma-4-31B-it-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("Qwen3-30B-A3B-Thinking-2507-UD-Q8_K_XL.gguf", "UD-Q8_K_XL"),
        ("Qwen3.6-35B-A3B-UD-Q6_K.gguf", "UD-Q6_K"),
        ("Qwen3-8B-UD-IQ2_XXS.gguf", "UD-IQ2_XXS"),
        ("GLM-4.7-Flash-UD-TQ1_0.gguf", "UD-TQ1_0"),
        ("bitnet-TQ2_0.gguf", "TQ2_0"),
        ("Meta-Llama-3.1-8B-Instruct-Q4_K_L.gguf", "Q4_K_L"),
        ("c4ai-command-r7b-12-2024-Q6_K_L.gguf", "Q6_K_L"),
        ("Meta-Llama-3.1-8B-Instruct-Q3_K_XL.gguf", "Q3_K_XL"),
        ("Codestral-22B-v0.1-Q8_0_L.gguf", "Q8_0_L"),
        ("Llama-3.2-1B-Instruct-Q4_0_4_4.gguf", "Q4_0_4_4"),
        ("Llama-3.2-3B-Instruct-IQ4_NL.gguf", "IQ4_NL"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("Qwen3-Coder-30B-A3B-Instruct-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("Qwen3-Next-80B-A3B-Instruct-MXFP4_MOE_BF16.gguf", "MXFP4_MOE_BF16"),
        ("Nemotron-3-Nano-4B-NVFP4.gguf", "NVFP4"),
        ("Meta-Llama-3.1-8B-Instruct-bf16.gguf", "BF16"),
        ("Phi-3-mini-4k-instruct-fp16.gguf", "F16"),
        ("Meta-Llama-3.1-8B-Instruct-f32.gguf", "F32"),
        ("Phi-3-mini-4k-instruct-q4.gguf", "Q4"),
        ("gemma4-26b-a4b-it-qat-q4.gguf", "Q4"),
        ("gemma-3-4b-it-qat-q4_0.gguf", "Q4_0"),
        ("gemma-3-4b-it-q4_0.gguf", "Q4_0"),
        ("gemma-3-27b-it-qat-q4_0-unquantized-BF16.gguf", "BF16"),
        ("google_gemma-3-27b-it-qat-Q4_K_M.gguf", "Q4_K_M"),
        ("gemma-3-12b-it-qat-q4_0-Q5_K_S.gguf", "Q5_K_S"),
        ("QwQ-32B-Q8_0.gguf", "Q8_0"),
        ("QWQ-32B-F16-Q6_K.gguf", "Q6_K"),
        ("Meta_Llama_3.1_8b_it-f16-iMat-Q5_K_S_q4_v6.gguf", "Q5_K_S"),
        ("Mistral-7B-Instruct-v0.3.f16.q5.gguf", "Q5"),
        ("L3-8B-Stheno-v3.2-Q4_K_M-imat.gguf", "Q4_K_M"),
        ("Qwen3-30B-A3B-Instruct-2507-IQ3_S-2.69bpw.gguf", "IQ3_S-2.69BPW"),
        ("Qwen3-30B-A3B-mix-IQ4_K.gguf", "IQ4_K"),
        ("DeepSeek-R1-Q8_0_R8.gguf", "Q8_0_R8"),
        ("DeepSeek-V3-0324-IQ4_K_R4.gguf", "IQ4_K_R4"),
        ("Kimi-K2-Instruct-smol-IQ1_KT.gguf", "IQ1_KT"),
        ("Qwen3.5-9B-Uncensored-Q6_K_P.gguf", "Q6_K_P"),
        ("Qwen3-8B-128K-Q4_1.gguf", "Q4_1"),
        ("SmolLM2-135M-Instruct-Q8_0.gguf", "Q8_0"),
        ("granite-4.0-h-tiny-Q4_K_S.gguf", "Q4_K_S"),
        ("LFM2-1.2B-Q5_K_M.gguf", "Q5_K_M"),
        ("stories15M-q8_0.gguf", "Q8_0"),
        ("Mixtral-8x7B-Instruct-v0.1-IQ2_M.gguf", "IQ2_M"),
        ("model-q4-k-m.gguf", "Q4_K_M"),
        ("BF16/Llama-3-70B.gguf", "BF16"),
        ("gguf/Q6_K/model.gguf", "Q6_K"),
        ("Q8_0/X-UD-Q2_K_XL.gguf", "UD-Q2_K_XL"),
        ("model.gguf", "?"),
        ("Llama-Q40.gguf", "?"),
        ("SQ4_0X.gguf", "?"),
        ("MyBF16model.gguf", "?"),
    ],
)
def test_the_quantisation_is_read_from_the_name(path: str, quant: str) -> None:
    offers = offers_of(listing(path))
    (offer,) = (*offers.models, *offers.others)
    assert offer.quant == quant


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("Qwen3-8B-Q4_K_M", "Qwen3-8B"),
        ("X.i1-IQ3_XXS", "X"),
        ("X-UD-Q4_K_XL", "X"),
        ("L3-Q4_K_M-imat", "L3--imat"),
        ("ﬀ-Q4_K_M", "ﬀ"),
        ("model", "model"),
    ],
)
def test_the_rest_of_the_name_is_the_models(name: str, stem: str) -> None:
    assert read_label(name).stem == stem


def test_parts_are_one_offer_in_order() -> None:
    parts = [f"Q8_0/Big-Q8_0-{n:05d}-of-00003.gguf" for n in (3, 1, 2)]
    offers = offers_of(listing(*parts, "Big-Q4_K_M.gguf"))
    assert quants(offers) == ["Q8_0", "Q4_K_M"]
    assert [file.path for file in offers.models[0].files] == sorted(parts)
    assert offers.models[0].n_bytes == 12 * GB
    assert not offers.incomplete


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ([1, 3], "UD-IQ1_S is incomplete: 1 of its 3 parts is missing."),
        ([2], "UD-IQ1_S is incomplete: 2 of its 3 parts are missing."),
        ([0, 1, 2], "UD-IQ1_S has parts that are numbered wrongly."),
        ([1, 2, 3, 4], "UD-IQ1_S has parts that are numbered wrongly."),
    ],
)
def test_parts_that_are_not_all_there_are_no_offer(numbers: list[int], says: str) -> None:
    paths = [f"UD-IQ1_S/R1-UD-IQ1_S-{n:05d}-of-00003.gguf" for n in numbers]
    offers = offers_of(listing(*paths, "R1-Q2_K.gguf"))
    assert quants(offers) == ["Q2_K"]
    assert offers.incomplete == (says,)


def test_whole_comes_before_split() -> None:
    parts = [f"X-Q6_K-{n:05d}-of-00002.gguf" for n in (1, 2)]
    offers = offers_of(listing(*parts, "X-Q6_K.gguf"), repo="user/X-GGUF")
    (model,) = offers.models
    assert [file.path for file in model.files] == ["X-Q6_K.gguf"]
    (other,) = offers.others
    assert offer_at(offers, parts[1]) == other
    assert "twice" in offers.incomplete[0] and parts[0] in offers.incomplete[0]


def test_of_two_models_in_a_repository_the_one_it_is_named_after_is_taken() -> None:
    files = listing(
        "Qwen3.6-27B-mtp-Q4_K_M.gguf",
        "Qwen3.6-27B-Q4_K_M.gguf",
        "Qwen3.6-27B-128K-Q4_K_M.gguf",
        "Qwen3.6-27B-Q4_K_M-imat.gguf",
    )
    for repo, stem in (
        ("unsloth/Qwen3.6-27B-GGUF", "Qwen3.6-27B-Q4_K_M.gguf"),
        ("unsloth/Qwen3.6-27B-MTP-GGUF", "Qwen3.6-27B-mtp-Q4_K_M.gguf"),
        ("unsloth/Qwen3.6-27B-128K-GGUF", "Qwen3.6-27B-128K-Q4_K_M.gguf"),
    ):
        offers = offers_of(files, repo=repo)
        assert [offer.files[0].path for offer in offers.models] == [stem]
        assert len(offers.others) == 3
        assert "4 times" in offers.incomplete[0]


def test_without_a_name_the_model_with_most_quantisations_is_taken() -> None:
    files = listing("A-7B-Q8_0.gguf", "B-1B-Q8_0.gguf", "B-1B-Q4_0.gguf")
    assert offer_at(offers_of(files), "B-1B-Q8_0.gguf") in offers_of(files).models
    assert offer_at(offers_of(files), "A-7B-Q8_0.gguf") in offers_of(files).others
    assert offer_at(offers_of(files), "C.gguf") is None


def test_what_is_no_model_is_told_apart() -> None:
    offers = offers_of(
        listing(
            "README.md",
            "config.json",
            "model-00001-of-00002.safetensors",
            "gemma-3-4b-it-Q4_K_M.gguf",
            ("mmproj-model-f16.gguf", GB),
            ("gemma-3-4b-it-mmproj-Q8_0.gguf", GB),
            ("imatrix.gguf", 10**7),
            ("imatrix_unsloth.dat", 10**7),
            ("imatrix_unsloth.gguf_file", 10**7),
            ("gemma-3-4b-it.imatrix", 10**7),
            ("gemma-3-4b-it-Q8_0-imatrix.gguf", 10**7),
            ("gemma-3-4b-it-lora-f16.gguf", 10**8),
            ("ggml-vocab-gemma.gguf", 10**6),
            ("mtp-gemma-3-4b-it-Q8_0.gguf", 10**8),
            ("gemma-3-4b-it-Q8_0.gguf", 0),
            "gemma-3-4b-it.Q6_K.gguf.part1of2",
            "gemma-3-4b-it.Q6_K.gguf-split-b",
        )
    )
    assert quants(offers) == ["Q4_K_M"]
    assert {file.path for file in offers.projectors} == {
        "mmproj-model-f16.gguf",
        "gemma-3-4b-it-mmproj-Q8_0.gguf",
    }
    assert len(offers.imatrices) == 5
    assert [offer.files[0].path for offer in offers.others] == ["mtp-gemma-3-4b-it-Q8_0.gguf"]
    assert offers.incomplete == (
        "gemma-3-4b-it.Q6_K.gguf-split-b, gemma-3-4b-it.Q6_K.gguf.part1of2 are cut into pieces"
        " that must be joined first.",
        "gemma-3-4b-it-Q8_0.gguf is empty.",
        "ggml-vocab-gemma.gguf is a vocabulary without a model.",
        "gemma-3-4b-it-lora-f16.gguf is a LoRA adapter, no model.",
        "mtp-gemma-3-4b-it-Q8_0.gguf is a draft for speculative decoding.",
    )


def test_a_model_that_only_mentions_a_matrix_or_an_adapter_is_a_model() -> None:
    offers = offers_of(
        listing(
            "Llama-3.3-70B-Instruct-Q4_K_M-imatrix.gguf",
            ("Llama-3.3-70B-lora-merged-Q8_0.gguf", 10**6),
            ("Explorer-Q2_K.gguf", 10**6),
        )
    )
    assert sorted(quants(offers)) == ["Q2_K", "Q4_K_M", "Q8_0"]
    assert not offers.imatrices and not offers.incomplete


def test_what_llama_cpp_does_not_read_is_said_and_had_by_its_path_only() -> None:
    offers = offers_of(listing("X-Q4_0_4_4.gguf", "X-IQ4_KS.gguf", "X-Q4_0.gguf"))
    assert quants(offers) == ["Q4_0"]
    assert {offer.quant for offer in offers.others} == {"Q4_0_4_4", "IQ4_KS"}
    assert any("repacks Q4_0 itself" in each for each in offers.incomplete)
    assert find_offer(offers.models, "IQ4_KS") is None
    assert "ik_llama.cpp" in no_such_offer(offers, "iq4_ks", "u/X").message


USUAL = [f"X-{quant}.gguf" for quant in ("F16", "Q8_0", "Q6_K", "Q5_K_M", "UD-Q4_K_XL", "Q3_K_M")]


@pytest.mark.parametrize(
    ("quant", "found"),
    [
        ("q8_0", "Q8_0"),
        ("Q8-0", "Q8_0"),
        ("Q8", "Q8_0"),
        ("fp16", "F16"),
        ("ud-q4_k_xl", "UD-Q4_K_XL"),
        ("Q4_K_XL", "UD-Q4_K_XL"),
        ("q4", "UD-Q4_K_XL"),
        ("Q3_K", "Q3_K_M"),
        ("q5-k-m", "Q5_K_M"),
        ("Q4_K_M", None),
        ("UD-Q5_K_M", None),
        ("Q2", None),
        ("", None),
        ("?", None),
        ("nonsense", None),
    ],
)
def test_a_quantisation_is_found_whatever_its_spelling(quant: str, found: str | None) -> None:
    offers = offers_of(listing(*USUAL))
    offer = find_offer(offers.models, quant)
    assert (offer and offer.quant) == found


@pytest.mark.parametrize(
    ("names", "quant", "found"),
    [
        (["X.i1-Q4_K_M.gguf"], "Q4_K_M", "I1-Q4_K_M"),
        (["X.i1-Q4_K_M.gguf", "X.Q4_K_M.gguf"], "Q4_K_M", "Q4_K_M"),
        (["X-Q4_K_M.gguf", "X-Q4_K_S.gguf"], "Q4", None),
        (["X-mxfp4.gguf"], "MXFP4_MOE", "MXFP4"),
        (["X-MXFP4_MOE.gguf"], "mxfp4", "MXFP4_MOE"),
        (["X-IQ3_S-2.69bpw.gguf"], "IQ3_S", "IQ3_S-2.69BPW"),
        (["X-IQ3_S-2.69bpw.gguf", "X-IQ3_S-3.02bpw.gguf"], "IQ3_S", None),
        (["X-IQ3_S-2.69bpw.gguf", "X-IQ3_S-3.02bpw.gguf"], "iq3_s-3.02bpw", "IQ3_S-3.02BPW"),
        (["X-q4.gguf"], "Q4", "Q4"),
        (["X-UD-Q4_K_M.gguf"], "Q4_K", "UD-Q4_K_M"),
        (["model.gguf"], "?", "?"),
    ],
)
def test_a_quantisation_under_another_name(names: list[str], quant: str, found: str | None) -> None:
    offer = find_offer(offers_of(listing(*names)).models, quant)
    assert (offer and offer.quant) == found


def test_a_quantisation_is_the_same_in_any_spelling() -> None:
    assert same_quant("Q4_K_M", "q4-k-m") and same_quant("i1-Q4_K_M", "Q4_K")
    assert same_quant("ud-q4_k_xl", "UD-Q4_K_XL") and same_quant("Q4", "q4")
    assert not same_quant("UD-Q4_K_XL", "Q4_K_XL") and not same_quant("?", "Q4_0")


def test_one_that_is_not_there_offers_the_nearest() -> None:
    error = no_such_offer(offers_of(listing(*USUAL)), "Q5_K_S", "user/X-GGUF")
    assert error.message == "user/X-GGUF has no Q5_K_S."
    assert error.hint is not None and error.hint.startswith("Nearest are Q5_K_M")
    assert "UD-Q4_K_XL" in error.hint
    none_named = no_such_offer(offers_of(listing("model.gguf")), "Q5_K_S", "user/X-GGUF")
    assert "without a quantisation" in str(none_named.hint)


@pytest.mark.parametrize(
    ("label", "canonical"),
    [
        ("Q4_K_M", "Q4_K_M"),
        ("i1-Q4_K_M", "Q4_K_M"),
        ("I1-IQ3_XXS", "IQ3_XXS"),
        ("fp16", "F16"),
        ("MXFP4_MOE", "MXFP4"),
        ("NVFP4", "NVFP4"),
        ("TQ1_0", "TQ1_0"),
        ("UD-TQ1_0", None),
        ("UD-Q4_K_XL", None),
        ("UD-Q4_K_M", None),
        ("UD-Q8_K_XL", None),
        ("UD-IQ1_S", None),
        ("Q6_K_L", None),
        ("Q3_K_XL", None),
        ("Q8_0_L", None),
        ("IQ3_S-2.69BPW", None),
        ("MXFP4_MOE_BF16", None),
        ("Q4", None),
        ("Q8", None),
        ("?", None),
        ("", None),
    ],
)
def test_a_label_is_a_recipe_or_none(label: str, canonical: str | None) -> None:
    assert canonical_quant(label) == canonical


NAMES = st.text("aZ9-._ Q4K%é٣", min_size=1, max_size=12).filter(lambda text: "/" not in text)


@given(name=NAMES, quant=st.sampled_from(sorted(DEFAULT_TYPES)), ud=st.sampled_from(["", "UD-"]))
def test_a_quantisation_behind_any_name_is_read(name: str, quant: str, ud: str) -> None:
    (offer,) = offers_of(listing(f"{name}-{ud}{quant}.gguf")).models
    assert offer.quant == ud + quant
    assert find_offer([offer], quant.lower()) == offer


@given(
    st.lists(
        st.builds(
            RepoFile,
            path=st.one_of(
                st.text(max_size=20),
                st.builds("{}-{}-0000{}-of-0000{}.gguf".format, *[st.sampled_from("123")] * 4),
                st.builds("{}-{}.gguf".format, NAMES, st.sampled_from(["Q4_0", "f16", "lora"])),
            ),
            n_bytes=st.integers(-1, 10**12),
        ),
        max_size=12,
    )
)
def test_any_listing_gives_each_file_once_and_each_quantisation_once(files: list[RepoFile]) -> None:
    offers = offers_of(files, repo="user/X-GGUF")
    labels = quants(offers)
    assert len(set(labels)) == len(labels)
    paths = [file.path for offer in (*offers.models, *offers.others) for file in offer.files]
    paths += [file.path for file in (*offers.projectors, *offers.imatrices)]
    assert len(set(paths)) == len(paths)
    assert set(paths) <= {file.path for file in files}
    told = [file for file in files if is_told_apart(file.path)]
    assert offers_of(told, repo="user/X-GGUF") == offers
