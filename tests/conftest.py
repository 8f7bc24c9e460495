"""Fixtures that every test may ask for: model files, made once per session.

They are read-only for the tests: copy one before changing it.
"""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

import pytest

from tests.support import shapes
from tests.support.fake_nvml import FakeDriver, build
from tests.support.gguf_maker import make_model

# Hundreds of Pythons are started from here: each would compile the whole package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# What the person has measured moves no test, and no test adds to it.
os.environ["LOCALLLM_MEASUREMENTS"] = "off"

# No test leaves a cache behind, or finds one, or models, or a person's settings.
for _folder in ("LOCALLLM_CACHE_DIR", "LOCALLLM_CONFIG_DIR", "HF_HOME", "OLLAMA_MODELS"):
    os.environ[_folder] = f"{os.devnull}/nowhere"
for _stated in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"):
    os.environ.pop(_stated, None)

# A name that is looked for by mistake finds a closed port of this machine, and no network.
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"


_FIRST = ("tests/setup/", "tests/engine/test_differential.py", "tests/scripts/test_speed_f")
"""Modules with fixtures of many seconds."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts them first: an idle worker of xdist takes over the end of another's list, so that none
    of them is divided among workers, each with fixtures of its own, nor begun last.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(_FIRST))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process more than there are processors: many tests wait for a terminal or an engine."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_finish() -> None:
    """Looks for garbage less often, and not among the thousands of tests: a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's model files lie."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def toy_model(models_dir: Path) -> Path:
    """A Llama-architecture model of 4 layers, F16, random weights: 0.2 ms a token."""
    return make_model(models_dir / "toy.gguf", shapes.TOY, quant="F16", sparse=False)


@pytest.fixture(scope="session")
def toy_qwen3_model(models_dir: Path) -> Path:
    """The same with ChatML turns and ``<think>`` tokens; its template knows ``enable_thinking``."""
    return make_model(models_dir / "toy-qwen3.gguf", shapes.TOY_QWEN3, quant="F16", sparse=False)


@pytest.fixture(scope="session")
def toy_gemma3_model(models_dir: Path) -> Path:
    """A model with a sliding window in five of six layers, and a SentencePiece vocabulary."""
    return make_model(models_dir / "toy-gemma3.gguf", shapes.TOY_GEMMA3, quant="F16", sparse=False)


@pytest.fixture(scope="session")
def toy_gpt_oss_model(models_dir: Path) -> Path:
    """A mixture of experts with the harmony tokens of gpt-oss."""
    return make_model(
        models_dir / "toy-gpt-oss.gguf", shapes.TOY_GPT_OSS, quant="MXFP4", sparse=False
    )


@pytest.fixture(scope="session")
def llama_3_8b(models_dir: Path) -> Path:
    """Llama 3 8B at Q4_K_M with a 128,256-token vocabulary; its weights are a hole in the file."""
    return make_model(models_dir / "llama-3-8b-q4_k_m.gguf", shapes.LLAMA_3_8B)


@pytest.fixture(scope="session")
def bare_llama(models_dir: Path) -> Path:
    """The same without its vocabulary: planned in a third of the time, to the same bytes."""
    return make_model(models_dir / "llama-3-8b-bare.gguf", shapes.LLAMA_3_8B.without_vocabulary())


@pytest.fixture(scope="session")
def llama_32_1b(models_dir: Path) -> Path:
    """Llama 3.2 1B at Q4_K_M, embeddings tied; hollow as well."""
    return make_model(models_dir / "llama-3.2-1b-q4_k_m.gguf", shapes.LLAMA_32_1B)


@pytest.fixture(scope="session")
def toy_128k_model(models_dir: Path) -> Path:
    """A small hollow model with a 128,256-token vocabulary."""
    return make_model(models_dir / "toy-128k.gguf", shapes.TOY_128K, quant="F16")


@pytest.fixture(scope="session")
def fake_nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a compiled ``libnvidia-ml.so.1`` that answers what a test wants."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc) to build the fake NVML with")
    return build(tmp_path_factory.mktemp("fake-nvml"))


@pytest.fixture
def driver(fake_nvml_library: Path, tmp_path: Path) -> FakeDriver:
    """The fake NVIDIA driver with files of its own for one test."""
    folder = tmp_path / "driver"
    folder.mkdir()
    return FakeDriver(library=fake_nvml_library, folder=folder)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of an empty machine: ``/proc`` and ``/sys`` as a test plants them."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder
