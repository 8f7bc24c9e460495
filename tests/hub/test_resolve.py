"""Names of models: what they lead to, and what is said when they lead nowhere."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from localllm.errors import GGUFError, LocalLLMError, NotFoundError, UsageError
from localllm.hub.headers.remote import Reading
from localllm.hub.names.errors import known_instead
from localllm.hub.resolve import content_id, resolve, resolve_for_plan
from tests.support.gguf_maker import make_model
from tests.support.gguf_writer import string
from tests.support.loopback import LoopbackServer
from tests.support.shapes import TOY


def test_a_path_leads_to_its_model(toy_model: Path) -> None:
    model = resolve(str(toy_model))
    assert model.name == "toy"
    assert model.paths == (toy_model,)
    assert model.spec.source == str(toy_model)
    assert model.spec.has_chat_template and model.template is not None
    assert "<|start_header_id|>" in model.template


def test_a_file_needs_no_ending(toy_model: Path, tmp_path: Path) -> None:
    blob = tmp_path / "sha256-0123"
    shutil.copy(toy_model, blob)
    assert resolve(str(blob)).name == "sha256-0123"


def test_a_link_leads_to_its_model(toy_model: Path, tmp_path: Path) -> None:
    """As in the Hugging Face cache, where names are links to blobs."""
    link = tmp_path / "pretty.gguf"
    link.symlink_to(toy_model)
    assert resolve(str(link)).name == "pretty"


def test_the_home_folder_is_understood(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(toy_model, tmp_path / "toy.gguf")
    assert resolve("~/toy.gguf").paths == (tmp_path / "toy.gguf",)


def test_a_file_in_the_home_of_nobody_is_not_there() -> None:
    with pytest.raises(NotFoundError, match=r"There is no file ~nobody-of-this-name/toy\.gguf"):
        resolve("~nobody-of-this-name/toy.gguf")


def test_demo_is_the_model_in_the_package(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.resources.files", lambda name: tmp_path / name)
    with pytest.raises(NotFoundError, match="demo model is missing from this installation"):
        resolve("demo")
    (tmp_path / "localllm" / "_demo").mkdir(parents=True)
    shutil.copy(toy_model, tmp_path / "localllm" / "_demo" / "demo.gguf")
    assert resolve("demo").name == "demo"


@pytest.mark.parametrize("name", ["dmeo", "Demo", "demo1", "deno"])
def test_nearly_demo_offers_demo(name: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        resolve(name)
    assert caught.value.hint == "Did you mean `demo`?"


@pytest.mark.parametrize("ask", [resolve, resolve_for_plan])
@pytest.mark.parametrize(
    "name", ["bartowski/Some-Model-9B-GGUF", "hf.co/user/repo:Q4_K_M", "user/repo"]
)
def test_a_name_of_the_hub_is_looked_for_here_and_says_what_downloads_it(
    name: str, ask: Callable[[str], object]
) -> None:
    with pytest.raises(NotFoundError, match=re.escape(f"{name} is not here")) as caught:
        ask(name)
    assert caught.value.exit_code == 5
    assert f"`localllm pull {name}`" in str(caught.value.hint)


def test_a_known_name_can_be_planned_and_says_what_downloads_it() -> None:
    model = resolve_for_plan("llama-3-8b:Q5_K_M")
    assert model.recorded and model.spec.quant == "Q5_K_M"
    assert resolve_for_plan("Meta-Llama-3-8B-Instruct").spec.n_layer == 32
    with pytest.raises(NotFoundError, match="is not here") as caught:
        resolve("llama-3-8b:Q5_K_M")
    assert "`localllm pull llama-3-8b:Q5_K_M`" in str(caught.value.hint)


def test_a_shape_in_an_unknown_quantisation_offers_those_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        resolve_for_plan("llama-3-8b:Q9_Z")
    assert "Q4_K_M" in str(caught.value.hint)


def test_a_name_that_is_nearly_known_offers_it() -> None:
    with pytest.raises(NotFoundError) as caught:
        resolve_for_plan("lama-3-70b")
    assert "llama-3-70b" in str(caught.value.hint)


def test_a_file_comes_before_a_known_name_and_a_folder_does_not(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llama-3-8b").mkdir()
    assert resolve_for_plan("llama-3-8b").recorded
    (tmp_path / "llama-3-8b").rmdir()
    shutil.copy(toy_model, tmp_path / "llama-3-8b")
    assert resolve_for_plan("llama-3-8b").spec.name == resolve("llama-3-8b").spec.name == "Toy"


def test_an_address_can_be_planned_and_not_run(
    toy_model: Path,
    server: LoopbackServer,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    url = server.serve("/m/toy.gguf", toy_model.read_bytes())
    told: list[Reading] = []
    model = resolve_for_plan(url, on_reading=told.append)
    assert model.spec.layers == resolve_for_plan(str(toy_model)).spec.layers
    assert told and not model.recorded
    assert resolve_for_plan(url).spec == model.spec
    with pytest.raises(NotFoundError, match=r"toy\.gguf is not on the Hub") as caught:
        resolve(url + "?sig=secret")
    assert caught.value.exit_code == 5 and "secret" not in caught.value.message


def test_a_wrong_path_offers_the_nearest_files(toy_model: Path, tmp_path: Path) -> None:
    for name in ("Llama-3-8B-Q4_K_M.gguf", "Llama-3-8B-Q8_0.gguf", "mistral.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(NotFoundError) as caught:
        resolve(str(tmp_path / "llama-3-8b-q4_k.gguf"))
    hint = str(caught.value.hint)
    assert hint.startswith(f"Did you mean {tmp_path}/Llama-3-8B-Q4_K_M.gguf")
    assert "mistral" not in hint


def test_a_name_without_its_ending_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "phi-4-Q4_K_M.gguf").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError) as caught:
        resolve("phi-4-q4_k_m")
    assert caught.value.hint == "Did you mean phi-4-Q4_K_M.gguf?"


def test_a_wrong_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        resolve(str(tmp_path / "nowhere" / "model.gguf"))
    assert caught.value.hint == f"There is no folder {tmp_path}/nowhere."


def test_a_folder_offers_its_models(toy_model: Path) -> None:
    with pytest.raises(UsageError, match="is a folder, not a model file") as caught:
        resolve(str(toy_model.parent))
    assert "Pass a file in it: " in str(caught.value.hint)


@pytest.mark.parametrize("name", ["", "  ", "a\0b", "x" * 5000, "/" + "y" * 300, "\x1b[31m.gguf"])
def test_odd_names_get_a_typed_error_that_is_safe_to_print(name: str) -> None:
    with pytest.raises(LocalLLMError) as caught:
        resolve(name)
    assert caught.value.exit_code in (1, 2, 5)
    assert "\x1b" not in caught.value.message and "\0" not in caught.value.message
    assert len(caught.value.message) < 400


def test_a_bad_file_keeps_its_error(tmp_path: Path) -> None:
    (tmp_path / "page.gguf").write_bytes(b"<!DOCTYPE html>" + b" " * 500)
    with pytest.raises(GGUFError, match=r"page\.gguf: this is not a GGUF file but an HTML page"):
        resolve(str(tmp_path / "page.gguf"))


def test_the_content_id_tells_files_apart(tmp_path: Path) -> None:
    def identity(name: str, *, seed: int, quant: str = "F16", title: str = "Toy") -> str:
        extra = {"general.name": string(title)}
        path = make_model(tmp_path / name, TOY, quant=quant, sparse=False, seed=seed, extra=extra)
        return resolve(str(path)).content_id

    first = identity("a.gguf", seed=1)
    assert identity("b.gguf", seed=1) == first
    others = {
        identity("c.gguf", seed=2),
        identity("d.gguf", seed=1, quant="Q8_0"),
        identity("e.gguf", seed=1, title="Tou"),
    }
    assert first not in others and len(others) == 3


def test_the_content_id_of_a_small_file_does_not_need_samples(tmp_path: Path) -> None:
    path = tmp_path / "tiny"
    path.write_bytes(b"abc")
    assert content_id([path], header_bytes=3) == content_id([path], header_bytes=3)
    assert len(content_id([path], header_bytes=3)) == 64


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_closed_folder_is_a_typed_error(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(LocalLLMError):
        resolve(str(closed / "model.gguf"))


@pytest.mark.parametrize("repo", ["meta-llama/Meta-Llama-3-8B", "bartowski/Llama-3-8B-GGUF"])
def test_a_repository_without_models_is_answered_with_a_known_name_that_is_like_it(
    repo: str,
) -> None:
    assert "llama-3-8b" in (known_instead(repo) or "")


@pytest.mark.parametrize("name", ["ftp://x/y.gguf", "s3://bucket/model.gguf"])
def test_an_address_that_cannot_be_read_is_not_taken_for_a_path(name: str) -> None:
    with pytest.raises(UsageError, match="no address that can be read"):
        resolve_for_plan(name)
