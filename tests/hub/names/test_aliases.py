"""The person's own names for models."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.errors import UsageError
from localllm.hub.names.aliases import read_aliases
from localllm.hub.names.reading import AddressName, PathName, PlainName, RepoName, ToolName
from localllm.hub.resolve import meaning_of
from localllm.system.folders import own_folder


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"LOCALLLM_CONFIG_DIR": str(tmp_path)}


def write(environ: dict[str, str], text: str) -> None:
    (Path(environ["LOCALLLM_CONFIG_DIR"]) / "config.toml").write_text(text, encoding="utf-8")


def test_without_a_file_there_are_none(environ: dict[str, str]) -> None:
    assert read_aliases(environ).names == ()
    assert read_aliases(environ).find("my-llama") is None
    assert meaning_of("llama-3-8b:Q4_0", environ) == PlainName(name="llama-3-8b", quant="Q4_0")
    below_a_file = {"LOCALLLM_CONFIG_DIR": __file__}
    assert read_aliases(below_a_file).names == ()


OWN = """
theme = "dark"
[of-a-newer-version]
x = 1
[models]
my-llama = "bartowski/Llama-3.3-70B-Instruct-GGUF:Q5_K_M"
"work.model 2" = "my-llama"
small = "qwen3-4b"
llama-3-8b = "llama-3-8b:Q8_0"
file = "/srv/x.gguf"
page = "https://example.org/x.gguf"
one-file = "hf.co/user/repo/x.gguf"
theirs = "ollama:llama3:8b"
toy = "demo"
"""


def test_an_own_name_is_followed(environ: dict[str, str]) -> None:
    write(environ, OWN)
    repo = "bartowski/Llama-3.3-70B-Instruct-GGUF"
    assert meaning_of("my-llama", environ) == RepoName(repo=repo, quant="Q5_K_M")
    assert meaning_of("My_Llama:q4_0", environ) == RepoName(repo=repo, quant="Q4_0")
    assert meaning_of("workmodel2", environ) == RepoName(repo=repo, quant="Q5_K_M")
    assert meaning_of("small:Q6_K", environ) == PlainName(name="qwen3-4b", quant="Q6_K")
    assert meaning_of("file", environ) == PathName(path="/srv/x.gguf")
    assert meaning_of("page", environ) == AddressName(address="https://example.org/x.gguf")
    assert meaning_of("one-file", environ) == RepoName(repo="user/repo", path="x.gguf")
    assert meaning_of("theirs", environ) == ToolName(tool="ollama", name="llama3:8b")
    assert meaning_of("toy", environ) == PathName(path="demo")
    assert meaning_of("other", environ) == PlainName(name="other")
    assert read_aliases(environ).find("MYLLAMA") == f"{repo}:Q5_K_M"
    assert "work.model 2" in read_aliases(environ).names


def test_a_known_name_may_be_given_a_quantisation_of_ones_own(environ: dict[str, str]) -> None:
    write(environ, OWN)
    assert meaning_of("llama-3-8b", environ) == PlainName(name="llama-3-8b", quant="Q8_0")
    assert meaning_of("llama-3-8b:Q4_0", environ) == PlainName(name="llama-3-8b", quant="Q4_0")


@pytest.mark.parametrize("name", ["file:Q4_0", "one-file:Q4_0", "theirs:Q4_0", "toy:Q4_0"])
def test_one_file_has_no_quantisations_to_choose_from(environ: dict[str, str], name: str) -> None:
    write(environ, OWN)
    with pytest.raises(UsageError, match="no Q4_0 to choose"):
        meaning_of(name, environ)


def test_a_working_folder_does_not_change_what_an_own_name_means(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(environ, OWN)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qwen3-4b").write_bytes(b"")
    assert meaning_of("small", environ) == PlainName(name="qwen3-4b")


def test_home_is_understood(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    write(environ, '[models]\nx = "~/m.gguf"\n')
    assert meaning_of("x", environ) == PathName(path="/home/me/m.gguf")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[models\n", "line 1"),
        ('[models]\na = "x"\na = "y"\n', "line 3"),
        ("models = 3\n", "models is no table"),
        ("[models]\nx = 3\n", "x must stand for"),
        ('[models]\nx = " "\n', "x must stand for"),
        ('[models]\n"a/b" = "c"\n', '"a/b" cannot be a name'),
        ('[models]\n"a:b" = "c"\n', '"a:b" cannot be a name'),
        ('[models]\n"-" = "c"\n', '"-" cannot be a name'),
        ('[models]\nDemo = "c"\n', "Demo is the model in the package"),
        ('[models]\nmy-x = "a"\nMyX = "b"\n', "MyX and my-x are the same name"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_by_its_name(
    environ: dict[str, str], text: str, says: str
) -> None:
    write(environ, text)
    with pytest.raises(UsageError) as caught:
        read_aliases(environ)
    assert says in caught.value.message
    assert f"{environ['LOCALLLM_CONFIG_DIR']}/config.toml" in caught.value.message


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('x = "y"\ny = "x"', 'x = "y" leads back to itself'),
        ('x = "x"', 'x = "x" leads back to itself'),
        ('x = "X:Q4_0"', "leads back to itself"),
        ('x = "models/m.gguf"', "a path that does not begin at / or ~"),
        ('x = "user/repo:"', "nothing stands behind the colon"),
        ('x = "hf.co/datasets/a/b"', "is a data set"),
    ],
)
def test_a_name_that_makes_no_sense_is_refused_when_it_is_used(
    environ: dict[str, str], lines: str, says: str
) -> None:
    write(environ, f"[models]\n{lines}\n")
    assert read_aliases(environ).find("x")
    with pytest.raises(UsageError) as caught:
        meaning_of("x", environ)
    assert says in caught.value.message and "config.toml" in caught.value.message


def test_a_file_that_is_no_text_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="no text in UTF-8"):
        read_aliases(environ)
    (tmp_path / "config.toml").unlink()
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        read_aliases(environ)


def test_the_file_lies_where_the_system_keeps_such_files() -> None:
    assert own_folder("config", {"LOCALLLM_CONFIG_DIR": "/a"}) == Path("/a")
    assert own_folder("config", {"XDG_CONFIG_HOME": "/x"}) == Path("/x/localllm")
    assert own_folder("config", {}) == Path("~/.config/localllm").expanduser()
