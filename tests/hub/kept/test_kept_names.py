"""Which models here a person means: by the listed name, a path, a repository, a known name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from localllm.core.kept import KeptFile, KeptModel
from localllm.errors import NotFoundError, UsageError
from localllm.hub.kept.by_name import kept_by_name
from localllm.hub.kept.here import kept_as
from localllm.hub.kept.inventory import everything
from localllm.hub.names.reading import RepoName
from tests.support.hf_cache import HFCache, commit

_REPO = "maker/Toy-GGUF"
_LLAMA = "bartowski/Meta-Llama-3-8B-Instruct-GGUF"
_OLD = "abcdef123456".ljust(40, "0")
_Q4, _Q8 = f"{_REPO}:Q4_K_M", f"{_REPO}:Q8_0"
_PART = "toy-Q8_0-0000{}-of-00002.gguf"


@pytest.fixture
def environ(cache: HFCache, tmp_path: Path) -> dict[str, str]:
    home = str(tmp_path / "home")
    return {"HOME": home, "LOCALLLM_CONFIG_DIR": home, "HF_HUB_CACHE": str(cache.root)}


@pytest.fixture
def full(cache: HFCache) -> HFCache:
    """A cache with a model whole and in part, one that it replaced, a known one, and a branch."""
    cache.add(_REPO, {"toy-Q4_K_M.gguf": b"old"}, at=_OLD)
    cache.add(_REPO, {"toy-Q4_K_M.gguf": b"new", _PART.format(1): b"part"}, at=commit(1))
    cache.add(_LLAMA, {"Meta-Llama-3-8B-Instruct-Q4_K_M.gguf": b"llama"})
    cache.add("maker/Branch", {"m-Q4_K_M.gguf": b"v10"}, at=commit(2), ref="v10")
    return cache


def _names(name: str, environ: Mapping[str, str]) -> set[str]:
    return {model.name for model in kept_by_name(name, everything(environ).models, environ)}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        (_Q4, {_Q4}),
        (" MAKER/toy-gguf:q4_k_m", {_Q4}),
        (f"{_REPO}:q4-k-m", {_Q4}),
        (f"hf.co/{_Q8}", {_Q8}),
        (_REPO, {_Q4, _Q8}),
        (f"{_REPO}@main", {_Q4, _Q8}),
        (f"{_REPO}@abcdef123456:Q4_K_M", {f"{_REPO}@abcdef123456:Q4_K_M"}),
        (f"{_REPO}@abcdef1", {f"{_REPO}@abcdef123456:Q4_K_M"}),
        (f"{_REPO}:{_PART.format(2)}", {_Q8}),
        ("maker/Branch@v10", {"maker/Branch@v10:Q4_K_M"}),
        ("llama-3-8b", {f"{_LLAMA}:Q4_K_M"}),
        ("Llama-3-8B:Q4_K_M", {f"{_LLAMA}:Q4_K_M"}),
    ],
)
def test_a_name_means_what_is_here_of_it(
    full: HFCache, environ: dict[str, str], name: str, meant: set[str]
) -> None:
    assert _names(name, environ) == meant


def test_a_path_means_the_model_that_it_is_a_part_of(
    full: HFCache, environ: dict[str, str]
) -> None:
    folder = full.folder(_REPO) / "snapshots" / commit(1)
    assert _names(str(folder / _PART.format(1)), environ) == {_Q8}
    assert _names(str(folder / _PART.format(2)), environ) == {_Q8}  # which is missing


def test_ollamas_names_are_found_with_and_without_their_tag() -> None:
    model = KeptModel(
        name="ollama:llama3:8b",
        keeper="ollama",
        repo=None,
        commit=None,
        quant="Q4_0",
        files=(KeptFile(path=Path("/ollama/blobs/sha256-1"), n_bytes=1),),
        n_parts=1,
        last_used_s=0.0,
    )
    nowhere = {"HOME": "/nowhere", "LOCALLLM_CONFIG_DIR": "/nowhere"}
    for name in ("ollama:llama3:8b", "ollama:llama3"):
        assert kept_by_name(name, (model,), nowhere) == (model,)


def test_another_revision_than_the_one_that_is_named_is_not_meant(
    full: HFCache, environ: dict[str, str]
) -> None:
    for name in (
        *("maker/Branch@v1", "maker/Branch", f"maker/Branch@{commit(2)[:6]}"),
        *(f"{_REPO}@a", f"{_REPO}@abcdef", f"{_REPO}@abcdef2", f"{_REPO}@v10"),
    ):
        with pytest.raises(NotFoundError):
            _names(name, environ)


def test_a_tag_on_the_commit_of_main_is_found(full: HFCache, environ: dict[str, str]) -> None:
    full.point(_REPO, "v1", commit(1))
    assert _names(f"{_REPO}@v1", environ) == {_Q4, _Q8}


def test_an_old_revision_that_changed_nothing_is_listed_once_and_found_by_its_name(
    full: HFCache, environ: dict[str, str]
) -> None:
    full.add(_REPO, {"toy-Q4_K_M.gguf": b"new"}, at=commit(3), ref=None)
    name = f"{_REPO}@{commit(3)[:12]}:Q4_K_M"
    assert name not in {model.name for model in everything(environ).models}
    assert _names(name, environ) == {name}
    path = full.folder(_REPO) / "snapshots" / commit(3) / "toy-Q4_K_M.gguf"
    assert _names(str(path), environ) == {name}


def test_an_old_revision_is_meant_by_a_plain_name_where_nothing_else_is_here(
    cache: HFCache, environ: dict[str, str]
) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": b"old"}, at=_OLD, ref=None)
    cache.point(_REPO, "main", commit(1))
    assert _names(_REPO, environ) == {f"{_REPO}@abcdef123456:Q4_K_M"}


def test_other_programs_models_are_found_by_repository_file_and_revision(
    cache: HFCache, environ: dict[str, str], tmp_path: Path
) -> None:
    studio = tmp_path / "home" / ".lmstudio" / "models" / "maker" / "Studio-GGUF"
    (studio / "sub").mkdir(parents=True)
    (studio / "sub" / "m-Q4_K_M.gguf").write_bytes(b"studio")
    theirs = HFCache(tmp_path / "llama.cpp")
    theirs.add("maker/Cpp-GGUF", {"m-Q4_K_M.gguf": b"cpp"}, at=_OLD, ref="v10")
    environ["LLAMA_CACHE"] = str(theirs.root)
    for name in ("maker/studio-gguf", "maker/Studio-GGUF:sub/m-Q4_K_M.gguf"):
        assert _names(name, environ) == {str(studio / "sub" / "m-Q4_K_M.gguf")}
    (path,) = _names("maker/Cpp-GGUF@v10:Q4_K_M", environ)
    assert path.startswith(str(theirs.root))
    for name in (
        *("maker/Studio-GGUF@v1", "maker/Studio-GGUF:m-Q4_K_M.gguf"),
        *("maker/Cpp-GGUF@v1", "maker/Cpp-GGUF@a", "maker/Cpp-GGUF"),
    ):
        with pytest.raises(NotFoundError):
            _names(name, environ)


def test_to_run_a_file_is_found_by_its_whole_path_alone_and_no_other_branch(
    full: HFCache, environ: dict[str, str]
) -> None:
    """Those too that no quantisation selects, since another file has it."""
    full.add(_REPO, {"sub/toy-Q4_K_M.gguf": b"second", "more/toy-Q4_K_M.gguf": b"3"}, at=commit(1))

    def found(**more: str) -> list[bytes]:
        return [
            model.files[0].path.read_bytes()
            for model in kept_as(RepoName(**{"repo": _REPO, **more}), environ=environ)
        ]

    assert found(path="sub/toy-Q4_K_M.gguf") == [b"second"]
    assert found(path="more/toy-Q4_K_M.gguf") == [b"3"]
    assert found(path="toy-Q4_K_M.gguf") == found(quant="Q4_K_M") == [b"new"]
    assert found(path="b/toy-Q4_K_M.gguf") == found(repo="maker/Branch") == []
    assert found(repo="maker/Branch", path="m-Q4_K_M.gguf") == []
    assert found(repo="maker/Branch", revision="v10") == [b"v10"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("maker/Toi-GGUF:Q4_K_M", _Q4),
        ("toy", _REPO),
        (f"{_REPO}:Q2_K", _REPO),
        ("maker/Branch", "maker/Branch@v10:Q4_K_M"),
        ("zzzz/zzzz", "`localllm list`"),
        ("/cache/other.gguf", "`localllm list`"),
        ("~nobody-of-this-name/other.gguf", "`localllm list`"),
    ],
)
def test_what_is_not_here_offers_the_nearest(
    full: HFCache, environ: dict[str, str], name: str, near: str
) -> None:
    with pytest.raises(NotFoundError, match="is not among the models here") as failed:
        _names(name, environ)
    assert near in (failed.value.hint or "")


def test_what_is_no_name_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        kept_by_name("", (), environ)
