"""Every recorded shape is complete: llama.cpp's own loader accepts its header.

The loader refuses a missing tensor, a surplus one and one of another shape. It runs in a child
process, since a shape that breaks one of its assertions would end ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from localllm.core.model import TensorInfo
from localllm.hub.gguf.hollow import write_bare
from localllm.hub.gguf.writer import write_header
from localllm.hub.known.models import KnownModel, _keys, _tensors, _typed, known_model, known_names

CHILD = """
import json, sys
import llama_cpp.llama_cpp as llama

lines = []

@llama.llama_log_callback
def keep(level, text, user_data):
    lines.append(text.decode(errors="replace"))

llama.llama_log_set(keep, None)
llama.llama_backend_init()
params = llama.llama_model_default_params()
params.no_alloc, params.load_mode, params.n_gpu_layers = True, 0, 0
for path in sys.argv[1:]:
    lines.clear()
    model = llama.llama_model_load_from_file(path.encode(), params)
    print(json.dumps({
        "n_params": llama.llama_model_n_params(model) if model else None,
        "n_layer": llama.llama_model_n_layer(model) if model else None,
        "n_ctx_train": llama.llama_model_n_ctx_train(model) if model else None,
        "unused": [line.split()[4] for line in lines if "unused tensor" in line],
        "error": next((line for line in lines if "error loading" in line), None),
    }), flush=True)
    if model:
        llama.llama_model_free(model)
"""
PUBLISHED_PARAMETERS_B = {
    "deepseek-r1": 671.03,
    "gemma-3-4b": 3.88,
    "gemma-4-26b-a4b": 25.23,
    "gemma-4-31b": 30.70,
    "gemma-4-e2b": 4.65,
    "gemma-4-e4b": 7.52,
    "glm-4.5-air": 110.47,
    "gpt-oss-120b": 116.83,
    "gpt-oss-20b": 20.91,
    "llama-2-7b": 6.74,
    "llama-3.1-8b": 8.03,
    "llama-3.1-70b": 70.55,
    "llama-3.1-405b": 405.85,
    "minimax-m2": 228.69,
    "mixtral-8x7b": 46.70,
    "nemotron-3-nano-30b-a3b": 31.58,
    "phi-4": 14.66,
    "qwen2.5-32b": 32.76,
    "qwen2.5-3b": 3.09,
    "qwen2.5-72b": 72.71,
    "qwen3-235b-a22b": 235.09,
    "qwen3-30b-a3b": 30.53,
    "qwen3.5-35b-a3b": 34.66,
    "qwen3.5-122b-a10b": 122.11,
}
"""Billions of parameters, as ``llama-bench`` prints them for the published files."""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What llama.cpp says to each shape."""
    names = known_names()
    paths = []
    for name in names:
        folder = tmp_path_factory.mktemp("shape")
        paths.append(str(known(name).header_files(folder, vocabulary=False)[0]))
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, *paths], capture_output=True, text=True, check=False
    )
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(told) == len(names), f"llama.cpp ended at {names[len(told)]}: {ran.stderr[-500:]}"
    return dict(zip(names, told, strict=True))


@cache
def known(name: str) -> KnownModel:
    model = known_model(name)
    assert model is not None
    return model


@pytest.mark.parametrize("name", known_names())
def test_llama_cpp_loads_the_shape(name: str, answers: dict[str, dict[str, Any]]) -> None:
    told, spec = answers[name], known(name).spec
    assert told["error"] is None
    assert told["n_params"] == spec.n_params
    assert told["n_ctx_train"] == known(name).facts.hparams["n_ctx_train"]


def test_nothing_but_the_blocks_for_further_tokens_lies_idle(
    answers: dict[str, dict[str, Any]],
) -> None:
    for name, told in answers.items():
        facts = known(name).facts
        mtp = 1 if "n_layer_nextn" in facts.hparams else 0
        assert told["n_layer"] in (facts.n_layer, facts.n_layer - mtp)
        last = tuple(f"blk.{facts.n_layer - 1 - i}." for i in range(mtp))
        assert all(tensor.startswith(last) for tensor in told["unused"] if last), name
        assert last or not told["unused"], name


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS_B)
def test_a_shape_has_as_many_parameters_as_the_published_file(name: str) -> None:
    assert round(known(name).spec.n_params / 1e9, 2) == PUBLISHED_PARAMETERS_B[name]


def test_the_loader_would_tell_a_tensor_too_many_or_too_few(tmp_path: Path) -> None:
    """The proof has teeth: without one tensor, or with one more, the header is refused."""
    facts = known("qwen3-0.6b").facts
    tensors = _typed(facts, _tensors(facts.name), "Q8_0", False)
    one_more = TensorInfo(name="blk.0.odd.weight", type="f32", shape=(8,), n_bytes=32, offset=0)
    errors = []
    for i, table in enumerate((tensors[1:], [*tensors, one_more])):
        folder = tmp_path / str(i)
        folder.mkdir()
        (path,) = write_bare(folder, write_header(_keys(facts, "Q8_0"), table))
        ran = subprocess.run(
            [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, check=False
        )
        errors.append(json.loads(ran.stdout)["error"])
    assert all(errors), errors
