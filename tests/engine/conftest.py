from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localllm.engine.client import EngineClient
from localllm.engine.dryrun import DryRun
from tests.engine.support import load
from tests.support import shapes
from tests.support.gguf_maker import make_model


@pytest.fixture(autouse=True, scope="package")
def _faults_on_request() -> Iterator[None]:
    """Engine children of these tests do as a ``FaultRequest`` says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCALLLM_ENGINE_TEST", "1")
        yield


@pytest.fixture(scope="session")
def dry() -> Iterator[DryRun]:
    """One dry-run child for many tests; it survives whatever they ask."""
    with DryRun() as dry:
        yield dry


@pytest.fixture(scope="session")
def header(models_dir: Path) -> Callable[[str], Path]:
    """Full-size model files of known shapes, hollow and without vocabulary, Q4_K_M."""

    def make(name: str) -> Path:
        path = models_dir / f"{name}-bare.gguf"
        if not path.exists():
            make_model(path, shapes.SHAPES[name].without_vocabulary(), quant="Q4_K_M")
        return path

    return make


@pytest.fixture(scope="session")
def endless_model(models_dir: Path) -> Path:
    """Weights of zeros: every logit is equal, greedy always draws token 0, an answer never ends."""
    return make_model(models_dir / "endless.gguf", shapes.TOY, quant="F16")


@pytest.fixture(scope="module")
def endless_client() -> Iterator[EngineClient]:
    with EngineClient() as client:
        yield client


@pytest.fixture
def endless(endless_client: EngineClient, endless_model: Path) -> Iterator[EngineClient]:
    """An engine whose answers go on until they are stopped, loaded once for many tests."""
    if endless_client.pid is None:
        load(endless_client, endless_model, n_ctx=4096)
    pid = endless_client.pid
    yield endless_client
    assert endless_client.pid == pid, "the engine did not survive this test"


@pytest.fixture(scope="module")
def client() -> Iterator[EngineClient]:
    with EngineClient() as client:
        yield client


@pytest.fixture
def engine(client: EngineClient, toy_model: Path) -> Iterator[EngineClient]:
    """A toy, loaded once for many tests. They leave it alive and ready."""
    if client.pid is None:
        load(client, toy_model)
    pid = client.pid
    yield client
    assert client.pid == pid, "the engine did not survive this test"
