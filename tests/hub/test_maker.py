"""The maker of model files: what it makes, llama.cpp loads, decodes and measures as we do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localllm.core.ggml import TYPES_BY_NAME
from localllm.hub.resolve import resolve
from tests.support import shapes
from tests.support.gguf_maker import make_model, model_header
from tests.support.gguf_vocab import STYLES
from tests.support.load_models import TEXT
from tests.support.quant_mix import FILE_TYPE_IDS
from tests.support.shapes import SHAPES, tensors

ROOT = Path(__file__).parent.parent.parent
TOYS = {
    "toy": "F16",
    "toy-256": "Q4_K_M",
    "toy-moe": "Q8_0",
    "toy-qwen3": "F32",
    "toy-gemma3": "BF16",
    "toy-gpt-oss": "MXFP4",
    "toy-mla": "F16",
    "toy-lfm2": "F16",
    "toy-mamba": "F16",
}


def ask_llama_cpp(work: str, paths: list[Path]) -> dict[str, dict[str, Any]]:
    """What llama.cpp, in a process of its own, says of each file."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.load_models", work, *map(str, paths)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "GGML_NO_BACKTRACE": "1", "OMP_WAIT_POLICY": "passive"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return {Path(answer["file"]).stem: answer for answer in answers}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("toys")
    return {
        name: make_model(folder / f"{name}.gguf", SHAPES[name], quant=quant, sparse=False)
        for name, quant in TOYS.items()
    }


@pytest.fixture(scope="module")
def decoded(toys: dict[str, Path]) -> dict[str, dict[str, Any]]:
    return ask_llama_cpp("decode", list(toys.values()))


@pytest.mark.parametrize("name", TOYS)
def test_a_toy_loads_and_decodes(name: str, decoded: dict[str, dict[str, Any]]) -> None:
    answer = decoded[name]
    assert answer["loaded"], answer.get("log")
    assert answer["codes"] == [0] * 9
    assert answer["text"] == TEXT.decode()
    assert len(set(answer["drawn"])) > 1  # random weights do not all agree
    assert all(0 <= token < 1024 for token in answer["drawn"])


@pytest.mark.parametrize("name", TOYS)
def test_our_figures_of_a_toy_are_llama_cpp_s(
    name: str, toys: dict[str, Path], decoded: dict[str, dict[str, Any]]
) -> None:
    agree(toys[name], decoded[name])


@pytest.mark.parametrize("name", TOYS)
def test_the_blocks_with_a_cache_are_those_that_llama_cpp_gives_one(
    name: str, toys: dict[str, Path], decoded: dict[str, dict[str, Any]]
) -> None:
    spec = resolve(str(toys[name])).spec
    assert sum(layer.has_kv for layer in spec.layers) == decoded[name]["n_cached"]


def agree(path: Path, theirs: dict[str, Any]) -> None:
    spec = resolve(str(path)).spec
    ours = {
        "n_params": spec.n_params,
        "n_bytes": sum(tensor.n_bytes for tensor in spec.tensors),
        "n_ctx_train": spec.n_ctx_train,
        "n_embd": spec.n_embd,
        "n_layer": spec.n_layer,
        "n_head": spec.layers[0].n_head,
        "n_head_kv": spec.layers[0].n_head_kv,
        "n_swa": spec.n_swa,
        "n_vocab": spec.n_vocab,
    }
    assert ours == {key: theirs[key] for key in ours}


def test_every_shape_is_one_that_llama_cpp_loads(tmp_path: Path) -> None:
    """Hollow, without vocabulary and without weights: names, shapes and hyperparameters fit."""
    paths = {
        name: make_model(
            tmp_path / f"{name}.gguf",
            shape.without_vocabulary(),
            quant="MXFP4" if shape.arch == "gpt-oss" else "Q4_K_M",
        )
        for name, shape in SHAPES.items()
    }
    answers = ask_llama_cpp("shape", list(paths.values()))
    assert answers.keys() == paths.keys()
    for name, path in paths.items():
        assert answers[name]["loaded"], (name, answers[name].get("log"))
        agree(path, answers[name])


def test_a_hollow_model_takes_no_room_on_the_disk(llama_3_8b: Path) -> None:
    stat = llama_3_8b.stat()
    assert stat.st_size > 4.5 * 2**30
    assert stat.st_blocks * 512 < 2**24
    header, size = model_header(shapes.LLAMA_3_8B)
    assert size == stat.st_size
    with llama_3_8b.open("rb") as file:
        assert file.read(len(header)) == header


def test_the_same_seed_makes_the_same_file(tmp_path: Path) -> None:
    def made(name: str, seed: int) -> bytes:
        path = tmp_path / name
        return make_model(path, shapes.TOY, quant="Q8_0", sparse=False, seed=seed).read_bytes()

    assert made("a", 1) == made("b", 1) != made("c", 2)


@pytest.mark.parametrize("quant", FILE_TYPE_IDS)
def test_every_mixture_has_whole_blocks(quant: str) -> None:
    for tensor in tensors(shapes.LLAMA_32_1B, quant):
        assert tensor.shape[0] % TYPES_BY_NAME[tensor.type].block == 0


@pytest.mark.parametrize("style", STYLES)
def test_a_vocabulary_has_the_tokens_that_mark_its_turns(
    style: str, toys: dict[str, Path], tmp_path: Path
) -> None:
    from dataclasses import replace

    path = make_model(tmp_path / "v.gguf", replace(shapes.TOY, vocab=style), quant="F16")
    metadata = resolve(str(path)).spec.metadata
    tokens, eos = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.eos_token_id"]
    assert isinstance(tokens, tuple) and isinstance(eos, int)
    assert len(set(tokens)) == len(tokens) == 1024
    assert tokens[eos] == STYLES[style].eos
    assert set(STYLES[style].control) <= set(tokens)


def test_the_command_makes_the_same_file(tmp_path: Path) -> None:
    made = tmp_path / "made.gguf"
    arguments = ["toy", "--quant", "F16", "--random", "--seed", "3", "--out", str(made)]
    script = ROOT / "scripts" / "make_gguf.py"
    done = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{made}: 671.3 KiB, ")
    expected = make_model(tmp_path / "expected.gguf", shapes.TOY, quant="F16", sparse=False, seed=3)
    assert made.read_bytes() == expected.read_bytes()
