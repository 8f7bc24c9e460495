"""Models in the folders of LM Studio, Ollama and llama.cpp, which are only read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from localllm.core.kept import KeptModel
from localllm.hub.kept.inventory import everything
from localllm.hub.kept.llama_cpp import kept_by_llama_cpp
from localllm.hub.kept.lm_studio import find_lm_studio, kept_by_lm_studio
from localllm.hub.kept.ollama import find_ollama, kept_by_ollama
from localllm.hub.kept.verifying import verify
from tests.support.hf_cache import HFCache, sha256

_Q4, _Q8 = b"four bits" * 10, b"eight bits" * 20
_MODEL = "application/vnd.ollama.image.model"
_LIST = "application/vnd.ollama.manifest.list.v2+json"


def _write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---------------------------------------------------------------------------- LM Studio


def test_lm_studio_names_folders_as_the_hub_does(tmp_path: Path) -> None:
    models = tmp_path / ".lmstudio" / "models"
    path = _write(models / "lmstudio-community" / "Toy-GGUF" / "Toy-Q4_K_M.gguf", _Q4)
    _write(path.with_name("mmproj-F16.gguf"), b"eyes")
    _write(models / "me" / "Toy" / "x-Q8_0-00002-of-00002.gguf", _Q8)
    alone = _write(models / "toy" / "alone-Q6_K.gguf", _Q8)
    environ = {"HOME": str(tmp_path)}
    by_name = {model.name: model for model in kept_by_lm_studio(environ).models}
    model = by_name[str(path)]
    assert (model.repo, model.quant, model.keeper) == (
        "lmstudio-community/Toy-GGUF",
        "Q4_K_M",
        "lm-studio",
    )
    assert (model.n_bytes, model.files[0].sha256, model.can_be_removed) == (len(_Q4), None, False)
    assert by_name[str(alone)].repo is None
    (half,) = (model for model in by_name.values() if not model.is_complete)
    assert half.missing[0].name == "x-Q8_0-00001-of-00002.gguf"
    assert find_lm_studio("LMStudio-Community/toy-gguf", quant="q4_k_m", environ=environ) == (
        model,
    )
    assert find_lm_studio("lmstudio-community/Toy-GGUF", quant="Q8_0", environ=environ) == ()


def test_lm_studio_is_found_where_its_pointer_and_its_settings_say(tmp_path: Path) -> None:
    home, elsewhere, disk = tmp_path / "home", tmp_path / "elsewhere", tmp_path / "disk"
    _write(home / ".lmstudio-home-pointer", f"{elsewhere}\n")
    _write(elsewhere / "settings.json", json.dumps({"downloadsFolder": str(disk)}))
    stated = _write(disk / "a" / "b" / "b-Q4_K_M.gguf", _Q4)
    real = _write(tmp_path / "far" / "c-Q4_K_M.gguf", _Q4)
    old = home / ".cache" / "lm-studio" / "models" / "a"
    old.mkdir(parents=True)
    (old / "c").symlink_to(real.parent)  # people keep models on another disk
    (home / ".lmstudio").symlink_to(elsewhere)
    found = kept_by_lm_studio({"HOME": str(home)})
    assert sorted(model.name for model in found.models) == sorted(
        [str(stated), str(old / "c" / "c-Q4_K_M.gguf")]
    )


@pytest.mark.parametrize("text", ["", "[]", "{", '{"downloadsFolder": 3}', "[" * 100_000, "\xff"])
def test_settings_that_say_nothing_are_passed_over(tmp_path: Path, text: str) -> None:
    _write(tmp_path / ".lmstudio" / "settings.json", text.encode("latin-1"))
    _write(tmp_path / ".lmstudio-home-pointer", b"\xff\x00")
    path = _write(tmp_path / ".lmstudio" / "models" / "a" / "b" / "b-Q4_K_M.gguf", _Q4)
    found = kept_by_lm_studio({"HOME": str(tmp_path)})
    assert [model.name for model in found.models] == [str(path)]


# ---------------------------------------------------------------------------- Ollama


class _Ollama:
    """A folder of models as Ollama makes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def blob(self, content: bytes) -> Path:
        return _write(self.folder / "blobs" / f"sha256-{sha256(content)}", content)

    def layer(self, content: bytes, kind: str = _MODEL) -> dict[str, object]:
        self.blob(content)
        return {"mediaType": kind, "digest": f"sha256:{sha256(content)}", "size": len(content)}

    def manifest(self, content: bytes, **config: str) -> dict[str, object]:
        media_type = "application/vnd.docker.container.image.v1+json"
        return {
            "schemaVersion": 2,
            "config": self.layer(json.dumps(config).encode(), media_type),
            "layers": [
                self.layer(content),
                self.layer(b"eyes", "application/vnd.ollama.image.projector"),
                self.layer(b"{{ .Prompt }}", "application/vnd.ollama.image.template"),
            ],
        }

    def add(self, name: str, manifest: Mapping[str, object], *, v2: bool = False) -> Path:
        """``host/namespace/model/tag``; the newer layout links to a blob."""
        text = json.dumps(manifest)
        if not v2:
            return _write(self.folder / "manifests" / name, text)
        path = self.folder / "manifests-v2" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.path.relpath(self.blob(text.encode()), path.parent))
        return path


def _ollama(environ: Mapping[str, str]) -> tuple[KeptModel, ...]:
    return kept_by_ollama(environ, services=()).models


@pytest.fixture
def ollama(tmp_path: Path) -> _Ollama:
    return _Ollama(tmp_path / ".ollama" / "models")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def test_ollamas_models_are_called_as_it_calls_them(
    ollama: _Ollama, environ: dict[str, str]
) -> None:
    for index, name in enumerate(
        [
            "registry.example/library/llama3/8b",
            "registry.example/library/llama3/latest",
            "registry.example/me/toy/1b-q8_0",
            "hf.example/bartowski/Toy-GGUF/Q4_K_M",
        ]
    ):
        ollama.add(name, ollama.manifest(_Q4 + b"%d" % index, file_type="Q4_0"))
    found = {model.name: model for model in _ollama(environ)}
    assert {name: model.quant for name, model in found.items()} == {
        "ollama:llama3:8b": "Q4_0",
        "ollama:llama3:latest": "Q4_0",
        "ollama:me/toy:1b-q8_0": "Q8_0",
        "ollama:hf.example/bartowski/Toy-GGUF:Q4_K_M": "Q4_K_M",
    }
    model = found["ollama:llama3:8b"]
    assert model.files[0].sha256 == sha256(_Q4 + b"0")
    assert (model.keeper, model.is_complete, model.can_be_removed) == ("ollama", True, False)
    assert [verdict.result for verdict in verify(model)] == ["ok"]

    def named(name: str) -> list[str]:
        return [each.name for each in find_ollama(name, environ, services=())]

    assert named("llama3:8b") == named("library/llama3:8B") == ["ollama:llama3:8b"]
    assert named("Llama3") == ["ollama:llama3:latest"]
    assert named("registry.example/library/llama3") == ["ollama:llama3:latest"]
    assert named("bartowski/toy-gguf:q4_k_m") == ["ollama:hf.example/bartowski/Toy-GGUF:Q4_K_M"]
    assert named("llama3:70b") == []


def test_two_hosts_with_a_model_of_one_name_are_told_apart(
    ollama: _Ollama, environ: dict[str, str]
) -> None:
    for host in ("one.example", "two.example"):
        ollama.add(f"{host}/library/toy/1b", ollama.manifest(host.encode()))
    assert sorted(model.name for model in _ollama(environ)) == [
        "ollama:one.example/library/toy:1b",
        "ollama:two.example/library/toy:1b",
    ]


def test_newer_manifests_are_links_and_lists_and_come_first(
    ollama: _Ollama, environ: dict[str, str]
) -> None:
    name = "registry.example/library/toy/latest"
    ollama.add(name, ollama.manifest(b"older"))
    other = {"layers": [ollama.layer(b"tensors", "application/vnd.ollama.image.tensor")]}
    text = json.dumps(ollama.manifest(_Q8, file_type="Q8_0")).encode()
    child = {"digest": f"sha256:{sha256(text)}", "runner": "llamacpp"}
    ollama.blob(text)
    ollama.add(name, {"mediaType": _LIST, "manifests": [other, child]}, v2=True)
    (model,) = _ollama(environ)
    assert (model.quant, model.files[0].sha256) == ("Q8_0", sha256(_Q8))


def test_a_blob_that_is_gone_or_of_another_size_makes_a_model_incomplete(
    ollama: _Ollama, environ: dict[str, str]
) -> None:
    for tag, content in (("gone", _Q4), ("short", _Q8)):
        ollama.add(f"registry.example/library/toy/{tag}", ollama.manifest(content))
    ollama.blob(_Q4).unlink()
    ollama.blob(_Q8).write_bytes(_Q8[:-1])
    for model in _ollama(environ):
        assert (model.is_complete, model.files, model.quant) == (False, (), "?")
        assert len(model.missing) == 1
        assert [verdict.result for verdict in verify(model)] == ["missing"]


def test_the_header_tells_the_quantisation_where_nothing_else_does(
    ollama: _Ollama, environ: dict[str, str], toy_model: Path
) -> None:
    ollama.add("registry.example/library/toy/1b", ollama.manifest(toy_model.read_bytes()))
    assert [model.quant for model in _ollama(environ)] == ["F16"]


def test_what_is_no_manifest_of_a_model_is_passed_over(
    ollama: _Ollama, environ: dict[str, str]
) -> None:
    folder = "registry.example/library/toy"
    hostile = '{"layers": [3, {"digest": "sha256:../../etc/passwd", "size": 1}]}'
    lists = '{"manifests": [1, {"digest": 2}]}'
    texts = ["", "null", "[]", '{"layers": 3}', hostile, lists, "[" * 100_000, '{"config": []}']
    for index, document in enumerate(texts):
        _write(ollama.folder / "manifests" / folder / f"bad{index}", document)
    (ollama.folder / "manifests" / folder / "folder").mkdir()
    (ollama.folder / "manifests" / folder / "loop").symlink_to("loop")
    os.mkfifo(ollama.folder / "manifests" / folder / "pipe")
    _write(ollama.folder / "manifests" / folder / "bad name", "{}")
    parts = {"layers": [ollama.layer(b"one"), ollama.layer(b"two")]}
    ollama.add(f"{folder}/parts", parts)
    found = kept_by_ollama(environ, services=())
    assert found.models == ()
    assert any("2 files" in note for note in found.notes)
    assert all(note.isprintable() for note in found.notes)


def test_an_adapter_that_only_ollama_applies_is_mentioned(
    ollama: _Ollama, environ: dict[str, str]
) -> None:
    manifest = ollama.manifest(_Q4)
    manifest["layers"] = [
        ollama.layer(_Q4),
        ollama.layer(b"lora", "application/vnd.ollama.image.adapter"),
    ]
    ollama.add("registry.example/library/toy/tuned", manifest)
    (model,) = _ollama(environ)
    assert model.note is not None and "adapter" in model.note


def test_ollamas_other_folders_are_read_too(tmp_path: Path) -> None:
    stated, service = _Ollama(tmp_path / "stated"), _Ollama(tmp_path / "service")
    stated.add("registry.example/library/toy/1b", stated.manifest(_Q4))
    service.add("registry.example/library/toy/2b", service.manifest(_Q8))
    environ = {"HOME": str(tmp_path), "OLLAMA_MODELS": str(stated.folder)}
    found = kept_by_ollama(environ, services=(service.folder, stated.folder))
    assert [model.name for model in found.models] == ["ollama:toy:1b", "ollama:toy:2b"]


# ---------------------------------------------------------------------------- llama.cpp, and all


def test_llama_cpps_cache_is_flat_or_in_the_layout_of_the_hub(tmp_path: Path) -> None:
    flat = _write(tmp_path / "xdg" / "llama.cpp" / "me_Toy-GGUF_toy-Q4_K_M.gguf", _Q4)
    _write(tmp_path / "xdg" / "llama.cpp" / "below" / "no-Q4_K_M.gguf", _Q4)
    found = kept_by_llama_cpp({"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "xdg")})
    assert [(model.name, model.quant) for model in found.models] == [(str(flat), "Q4_K_M")]
    cache = HFCache(tmp_path / "llama")
    cache.add("me/Toy-GGUF", {"toy-Q8_0.gguf": _Q8})
    flat = _write(cache.root / "old-Q6_K.gguf", _Q4)
    found = kept_by_llama_cpp({"HOME": str(tmp_path), "LLAMA_CACHE": str(cache.root)})
    one, two = found.models
    assert (one.keeper, one.repo, one.quant) == ("llama.cpp", "me/Toy-GGUF", "Q8_0")
    assert one.name == str(one.files[0].path)
    assert two.name == str(flat)
    assert not any(model.can_be_removed for model in found.models)


def test_everything_is_there_once_and_by_name(tmp_path: Path) -> None:
    cache = HFCache(tmp_path / "hf" / "hub")
    for number in ("1", "2"):  # a revision that changed something else
        cache.add("z/Toy-GGUF", {"toy-Q4_K_M.gguf": _Q4, "a.txt": number.encode()}, at=number * 40)
    blob = cache.folder("z/Toy-GGUF") / "blobs" / sha256(_Q4)
    linked = tmp_path / ".lmstudio" / "models" / "z" / "Toy-GGUF" / "toy-Q4_K_M.gguf"
    linked.parent.mkdir(parents=True)
    linked.symlink_to(blob)
    ollama = _Ollama(tmp_path / ".ollama" / "models")
    ollama.add("registry.example/library/toy/1b", ollama.manifest(_Q8))
    environ = {"HOME": str(tmp_path), "HF_HUB_CACHE": str(cache.root)}
    environ["LLAMA_CACHE"] = str(cache.root)
    inventory = everything(environ)
    ours = [model for model in inventory.models if model.name.startswith(("ollama:toy", "z/"))]
    assert [model.name for model in ours] == ["ollama:toy:1b", "z/Toy-GGUF:Q4_K_M"]
    assert not any(model.name == str(linked) for model in inventory.models)
    shutil.rmtree(tmp_path / "hf")
    shutil.rmtree(tmp_path / ".ollama")
    assert not any(model in ours for model in everything(environ).models)
