from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.engine.client import EngineClient
from tests.engine.support import load


@pytest.fixture(autouse=True, scope="package")
def _faults_on_request() -> Iterator[None]:
    """Engine children of these tests do as a ``FaultRequest`` says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCALLLM_ENGINE_TEST", "1")
        yield


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
