from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.probes.trees import cpu_files, plant
from tests.support.fake_nvml import FakeDriver, build


@pytest.fixture(scope="session")
def fake_nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc) to build the fake NVML with")
    return build(tmp_path_factory.mktemp("fake-nvml"))


@pytest.fixture
def driver(fake_nvml_library: Path, tmp_path: Path) -> FakeDriver:
    folder = tmp_path / "driver"
    folder.mkdir()
    return FakeDriver(library=fake_nvml_library, folder=folder)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty machine."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def machine(root: Path) -> Path:
    """A machine with eight cores and 31 GiB, and nothing else."""
    return plant(root, cpu_files(8))
