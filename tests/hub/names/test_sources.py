"""Where the files of known models are, and that no name leads to other weights than its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from localllm.hub.cache_layout import check_repo
from localllm.hub.known.index import find_known
from localllm.hub.known.models import known_name, known_names
from localllm.hub.names.reading import PlainName, RepoName
from localllm.hub.names.sources import (
    KnownSource,
    is_name,
    names_like,
    repo_candidates,
    repositories_of,
)

NOWHERE = {"LOCALLLM_CONFIG_DIR": "/nonexistent"}


def source(name: str) -> KnownSource:
    found = repositories_of(name)
    assert found is not None, name
    return found


def variants() -> dict[str, str]:
    """All other weights, and the model whose shape they have."""
    found: dict[str, str] = {}
    for name in known_names():
        known = find_known(name)
        assert known is not None
        found |= dict.fromkeys(known.facts.variants, name)
    return found


def test_a_known_model_says_what_a_person_should_know_before_the_download() -> None:
    assert source("Meta-Llama-3-70B-Instruct") == KnownSource(
        name="llama-3-70b",
        repos=(
            "bartowski/Meta-Llama-3-70B-Instruct-GGUF",
            "lmstudio-community/Meta-Llama-3-70B-Instruct-GGUF",
        ),
        licence="llama3",
        gated=True,
        n_ctx_train=8192,
        family="Llama 3",
        title="Llama 3 70B",
    )
    assert repositories_of("lama-9") is None


def test_repositories_are_well_formed_and_each_is_one_models() -> None:
    owners: dict[str, str] = {}
    for name in (*known_names(), *variants()):
        repos = source(name).repos
        assert len(set(repos)) == len(repos), name
        for repo in repos:
            assert check_repo(repo) == repo
            assert "gguf" in repo.lower(), repo
        if repos:
            first = owners.setdefault(repos[0], name)
            assert first == name or source(first).repos == repos, (first, name)


def test_most_models_of_forty_families_have_a_repository() -> None:
    with_one = [name for name in known_names() if source(name).repos]
    families = {source(name).family for name in with_one}
    assert len(families) >= 40
    assert len(with_one) >= 0.95 * len(known_names())
    publishers = Counter(repo.partition("/")[0] for name in with_one for repo in source(name).repos)
    assert publishers["bartowski"] > 80 and publishers["unsloth"] > 50


def test_a_variant_shares_a_shape_and_no_repository() -> None:
    for variant, name in variants().items():
        assert known_name(variant) == name
        assert variant not in known_names()
        assert source(variant).name == variant
        assert not set(source(variant).repos) & set(source(name).repos), variant
        assert source(variant).repos, variant


@pytest.mark.parametrize(
    ("name", "repo"),
    [
        ("llama-3-8b", "bartowski/Meta-Llama-3-8B-Instruct-GGUF"),
        ("llama3:8b", "bartowski/Meta-Llama-3-8B-Instruct-GGUF"),
        ("llama-3-8b-instruct", "bartowski/Meta-Llama-3-8B-Instruct-GGUF"),
        ("llama-3-8b-base", "QuantFactory/Meta-Llama-3-8B-GGUF"),
        ("llama-3-70b-base", None),
        ("Meta-Llama-3-70B-base-hf", None),
        ("qwen3-8b-base", None),
        ("qwen3-4b-2507", "bartowski/Qwen_Qwen3-4B-Instruct-2507-GGUF"),
        ("Qwen3-4B-Instruct-2507", "bartowski/Qwen_Qwen3-4B-Instruct-2507-GGUF"),
        ("Qwen3-4B-Thinking-2507", "unsloth/Qwen3-4B-Thinking-2507-GGUF"),
        ("qwen3-4b", "bartowski/Qwen_Qwen3-4B-GGUF"),
        ("Qwen_Qwen3-8B", "bartowski/Qwen_Qwen3-8B-GGUF"),
        ("gemma-3-4b-it", "bartowski/google_gemma-3-4b-it-GGUF"),
        ("google_gemma-3-4b-it-qat-GGUF", "bartowski/google_gemma-3-4b-it-qat-GGUF"),
        ("llama-2-7b-chat-hf", "TheBloke/Llama-2-7B-Chat-GGUF"),
        ("llama-2-7b-base", "TheBloke/Llama-2-7B-GGUF"),
        ("llama-2-7b-base-chat", None),
        ("mistral-small-3.1", "bartowski/mistralai_Mistral-Small-3.1-24B-Instruct-2503-GGUF"),
        ("deepseek-r1:671b", "unsloth/DeepSeek-R1-GGUF"),
        ("deepseek-r1-0528", "unsloth/DeepSeek-R1-0528-GGUF"),
        ("deepseek-r1:32b", "bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF"),
        ("starcoder2-7b", "second-state/StarCoder2-7B-GGUF"),
        ("starcoder2-7b-base", "second-state/StarCoder2-7B-GGUF"),
        ("starcoder2-7b-instruct", None),
        ("nemotron-h-8b", None),
    ],
)
def test_a_name_leads_to_its_own_weights_or_to_none(name: str, repo: str | None) -> None:
    repos = source(name).repos
    assert (repos[0] if repos else None) == repo
    assert known_name(name) is not None


def test_candidates_carry_the_quantisation() -> None:
    found = repo_candidates(PlainName(name="phi-4", quant="Q6_K"), NOWHERE)
    assert found[0] == RepoName(repo="bartowski/phi-4-GGUF", quant="Q6_K")
    assert len(found) == 3 and {each.quant for each in found} == {"Q6_K"}
    itself = RepoName(repo="user/repo", revision="v1", quant="Q8_0")
    assert repo_candidates(itself, NOWHERE) == (itself,)
    assert repo_candidates(PlainName(name="nothing-9b"), NOWHERE) == ()
    assert repo_candidates(PlainName(name="qwen3-8b-base"), NOWHERE) == ()


def test_own_names_come_before_known_ones(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[models]\nphi-4 = "me/my-phi-GGUF:Q4_0"\nfile = "/srv/x.gguf"\nother = "phi-4"\n'
    )
    environ = {"LOCALLLM_CONFIG_DIR": str(tmp_path)}
    own = RepoName(repo="me/my-phi-GGUF", quant="Q4_0")
    assert repo_candidates(PlainName(name="phi4"), environ) == (own,)
    assert repo_candidates(PlainName(name="other"), environ) == (own,)
    assert repo_candidates(PlainName(name="other", quant="Q8_0"), environ)[0].quant == "Q8_0"
    assert repo_candidates(PlainName(name="file"), environ) == ()
    assert is_name("Other:Q4_K_M", environ) and is_name("llama3:8b:Q4_0", environ)
    assert not is_name("nothing-9b", environ)


def test_an_unknown_name_has_near_ones(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[models]\nmy-writer = "phi-4"\n')
    environ = {"LOCALLLM_CONFIG_DIR": str(tmp_path)}
    assert names_like("lama-3-70", environ=environ)[0] == "llama-3-70b"
    assert names_like("qwen3-4b-thinkin-2507", environ=environ)[0] == "qwen3-4b-thinking-2507"
    assert names_like("my-writr", environ=environ) == ["my-writer"]
    assert names_like("Zephyr-7b-bta", kept=["zephyr-7b-beta"], environ=environ) == [
        "zephyr-7b-beta"
    ]
    assert names_like("zzzzzzzz", environ=environ) == []
