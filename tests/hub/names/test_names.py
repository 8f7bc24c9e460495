"""What a person may call a model, and what it means."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.core.text import printable
from localllm.errors import UsageError
from localllm.hub.names.reading import (
    AddressName,
    ModelName,
    PathName,
    PlainName,
    RepoName,
    ToolName,
    read_name,
)

NOWHERE = {"LOCALLLM_CONFIG_DIR": "/nonexistent"}
MIRROR = {**NOWHERE, "HF_ENDPOINT": "https://hub.example.org/hf"}
REPO = "bartowski/Llama-3.3-70B-Instruct-GGUF"


def repo(name: str = REPO, **more: str) -> RepoName:
    return RepoName(repo=name, **more)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("llama-3-70b", PlainName(name="llama-3-70b")),
        ("llama-3-70b:Q5_K_M", PlainName(name="llama-3-70b", quant="Q5_K_M")),
        ("llama-3-70b:q5_k_m", PlainName(name="llama-3-70b", quant="Q5_K_M")),
        ("llama-3-70b:UD-Q4_K_XL", PlainName(name="llama-3-70b", quant="UD-Q4_K_XL")),
        ("llama-3-70b:Q9_Z", PlainName(name="llama-3-70b", quant="Q9_Z")),
        ("gpt-oss-20b:mxfp4", PlainName(name="gpt-oss-20b", quant="MXFP4")),
        ("llama3:8b", PlainName(name="llama3:8b")),
        ("llama3:8b:Q4_K_M", PlainName(name="llama3:8b", quant="Q4_K_M")),
        ("llama3:latest", PlainName(name="llama3")),
        (
            "llama3.1:8b-instruct-q4_K_M",
            PlainName(name="llama3.1:8b-instruct", quant="Q4_K_M"),
        ),
        ("Qwen3 30B A3B", PlainName(name="Qwen3 30B A3B")),
        ("  llama-3-8b ", PlainName(name="llama-3-8b")),
        (REPO, repo()),
        (f"{REPO}:q4_k_m", repo(quant="Q4_K_M")),
        (f"{REPO}:latest", repo()),
        (f"{REPO}@v1.0:IQ4_XS", repo(revision="v1.0", quant="IQ4_XS")),
        (f"{REPO}@refs/pr/1", repo(revision="refs/pr/1")),
        (f"{REPO}@refs%2Fpr%2F1:Q8_0", repo(revision="refs/pr/1", quant="Q8_0")),
        (f"{REPO}@q4_k_m", repo(quant="Q4_K_M")),
        (f"{REPO}:X-Q4_K_M.gguf", repo(path="X-Q4_K_M.gguf")),
        (f"hf.co/{REPO}:IQ4_XS", repo(quant="IQ4_XS")),
        (f"HF.co/{REPO}", repo()),
        (f"huggingface.co/{REPO}/", repo()),
        (f"https://huggingface.co/{REPO}", repo()),
        (f"http://www.huggingface.co/{REPO}?library=x#files", repo()),
        (f"https://huggingface.co/{REPO}/tree/main", repo()),
        (f"https://huggingface.co/{REPO}/tree/main/UD-IQ1_S", repo(quant="UD-IQ1_S")),
        (f"https://huggingface.co/{REPO}/tree/refs%2Fpr%2F1", repo(revision="refs/pr/1")),
        (f"https://hf.co/{REPO}/tree/refs/pr/12", repo(revision="refs/pr/12")),
        (
            f"https://huggingface.co/{REPO}/blob/main/Q8_0/X-00001-of-00002.gguf",
            repo(path="Q8_0/X-00001-of-00002.gguf"),
        ),
        (
            f"https://huggingface.co/{REPO}/resolve/abc/a%20b.gguf?download=true",
            repo(revision="abc", path="a b.gguf"),
        ),
        (f"huggingface.co/{REPO}/raw/main/X.gguf", repo(path="X.gguf")),
        (f"hf.co/{REPO}/X-Q4_0.gguf", repo(path="X-Q4_0.gguf")),
        (
            f"https://huggingface.co/{REPO}?show_file_info=Q8_0%2FX-Q8_0.gguf",
            repo(path="Q8_0/X-Q8_0.gguf"),
        ),
        (f"https://user:secret@huggingface.co/{REPO}", repo()),
        ("https://example.org/a/b", AddressName(address="https://example.org/a/b")),
        (
            "https://example.org/m.gguf?sig=1",
            AddressName(address="https://example.org/m.gguf?sig=1"),
        ),
        ("ollama:llama3:8b", ToolName(tool="ollama", name="llama3:8b")),
        ("Ollama:hf.co/user/repo:Q4_K_M", ToolName(tool="ollama", name="hf.co/user/repo:Q4_K_M")),
        ("demo", PathName(path="demo")),
        ("m.gguf", PathName(path="m.gguf")),
        ("user/repo/m.gguf", PathName(path="user/repo/m.gguf")),
        ("./a/b", PathName(path="./a/b")),
        ("~/models/x", PathName(path="~/models/x")),
        ("~nobody-of-this-name/x", PathName(path="~nobody-of-this-name/x")),
        ("/srv/model", PathName(path="/srv/model")),
        ("my models/llama", PathName(path="my models/llama")),
    ],
)
def test_a_name_is_read(text: str, meant: ModelName) -> None:
    assert read_name(text, NOWHERE) == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (f"https://hub.example.org/hf/{REPO}/tree/main", repo()),
        (f"https://hub.example.org/hf/{REPO}:Q4_0", repo(quant="Q4_0")),
        (f"hub.example.org/hf/{REPO}/resolve/main/x.gguf", repo(path="x.gguf")),
        (f"https://huggingface.co/{REPO}", repo()),
        (
            "https://hub.example.org/hf/m/toy.gguf",
            AddressName(address="https://hub.example.org/hf/m/toy.gguf"),
        ),
        (
            "https://hub.example.org/files/a/b",
            AddressName(address="https://hub.example.org/files/a/b"),
        ),
        (f"https://hub.example.org:8443/hf/{REPO}", None),
    ],
)
def test_addresses_of_a_mirror_are_the_hubs(text: str, meant: ModelName | None) -> None:
    assert read_name(text, MIRROR) == (meant or AddressName(address=text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (" \n", "empty"),
        (":Q4_K_M", "names no model before the colon"),
        ("llama-3-8b:", "nothing stands behind the colon"),
        (f"{REPO}:", "nothing stands behind the colon"),
        (f"{REPO}@:Q4_0", "no revision behind the @"),
        (f"{REPO}@../x", "is no name of a revision"),
        ("user/repo/Q4_K_M", "is no name of a repository"),
        ("user/re--po", "is no name of a repository"),
        ("hf.co/user", "names no repository"),
        ("https://huggingface.co/", "names no repository"),
        ("https://huggingface.co/datasets/user/data", "is a data set, not a model"),
        ("hf.co/spaces/user/space", "is a space, not a model"),
        ("https://huggingface.co/docs/hub/gguf", "is a page of the Hub, not a model"),
        (f"https://huggingface.co/{REPO}/discussions/3", "is a page of the Hub, neither"),
        (f"https://huggingface.co/{REPO}/blob/main/README.md", "names no .gguf file"),
        (f"https://huggingface.co/{REPO}/resolve/main", "names no .gguf file"),
        (f"https://huggingface.co/{REPO}/blob/main/../x.gguf", "is no path of a file"),
        (f"https://huggingface.co/{REPO}/blob/main/a%2Fb.gguf", "names no .gguf file"),
        (f"https://huggingface.co/{REPO}/tree/main/some-folder", "named after no quantisation"),
        ("https://huggingface.co/%2e%2e/x", "is no name of a repository"),
        ("https://[::1/x.gguf", "is not an address"),
        ("https://host:99999/x.gguf", "is not an address"),
        ("ftp://x/y.gguf", "is no address that can be read"),
        ("s3://bucket/model.gguf", "is no address that can be read"),
        ("ollama:", "names no model of that tool"),
        ("ollama:a b", "names no model of that tool"),
    ],
)
def test_what_can_mean_nothing_is_refused_with_a_hint(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_name(text, NOWHERE)
    assert says in caught.value.message
    assert caught.value.hint or "revision" in says


def test_a_secret_in_an_address_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        read_name("https://me:secret@huggingface.co/datasets/a/b?sig=hidden", NOWHERE)
    assert "secret" not in caught.value.message and "hidden" not in caught.value.message


def test_what_is_here_comes_before_any_other_meaning(tmp_path: Path) -> None:
    (tmp_path / "llama-3-8b").write_bytes(b"")
    assert read_name("llama-3-8b", NOWHERE) == PathName(path="llama-3-8b")
    assert read_name("llama-3-8b", NOWHERE, looks_here=False) == PlainName(name="llama-3-8b")
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "repo").write_bytes(b"")
    assert read_name("user/repo", NOWHERE) == PathName(path="user/repo")
    assert read_name("user/repo:Q4_0", NOWHERE) == repo("user/repo", quant="Q4_0")
    assert read_name("user/repo", NOWHERE, looks_here=False) == repo("user/repo")


def test_a_folder_with_a_users_name_does_not_hide_the_hub(tmp_path: Path) -> None:
    """Of what has the form of a repository: what else is said to be in that folder is a path."""
    (tmp_path / "user").mkdir()
    assert read_name("user/repo", NOWHERE) == repo("user/repo")
    for path in ("user/repo.gguf", "./user/repo", "user/a b", str(tmp_path / "user" / "repo")):
        assert read_name(path, NOWHERE) == PathName(path=path)


def test_a_folder_comes_after_a_name_that_is_known(tmp_path: Path) -> None:
    for name in ("llama-3-8b", "qwen3-4b-thinking-2507", "own", "strange"):
        (tmp_path / name).mkdir()
    (tmp_path / "config.toml").write_text('[models]\nOwn = "llama-3-8b"\n')
    environ = {"LOCALLLM_CONFIG_DIR": str(tmp_path)}
    for name in ("llama-3-8b", "qwen3-4b-thinking-2507", "own"):
        assert read_name(name, environ) == PlainName(name=name)
    assert read_name("strange", environ) == PathName(path="strange")


WORD = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}[A-Za-z0-9]", fullmatch=True).filter(
    lambda word: ".." not in word and "--" not in word and not word.lower().endswith(".gguf")
)


@given(user=WORD, name=WORD, quant=st.sampled_from(["Q4_K_M", "UD-Q4_K_XL", "IQ3_S-2.69BPW"]))
def test_the_spellings_of_a_repository_mean_the_same(user: str, name: str, quant: str) -> None:
    spelt = f"{user}/{name}"
    meant = repo(spelt, quant=quant)
    assert read_name(f"hf.co/{spelt}:{quant.lower()}", NOWHERE) in (meant, None) or user in (
        *("datasets", "spaces", "api", "blog", "collections", "docs", "models"),
        *("organizations", "papers", "settings"),
    )
    assert read_name(f"{spelt}:{quant}", NOWHERE, looks_here=False) == meant
    assert read_name(f"{spelt}@dev:{quant}", NOWHERE, looks_here=False) == repo(
        spelt, quant=quant, revision="dev"
    )


@given(st.text("aQ4_K-.:/@%~ \0é\\[]?#é0", max_size=30) | st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    for name in (text, f"hf.co/{text}", f"https://huggingface.co/{text}", f"ollama:{text}"):
        try:
            meant = read_name(name, NOWHERE)
        except UsageError as error:
            assert printable(error.message) == error.message
        else:
            if isinstance(meant, RepoName):
                assert meant.repo.count("/") == 1 and ".." not in (meant.path or "").split("/")
