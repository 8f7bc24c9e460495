from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_nvml import FakeDriver
from tests.support.fake_nvml.held import Bench, held
from tests.support.fake_nvml.plant import Plant


@pytest.fixture(scope="module")
def held_nvml(fake_nvml_library: Path) -> Iterator[ctypes.CDLL]:
    with held(fake_nvml_library) as library:
        yield library


@pytest.fixture
def nvml(
    held_nvml: ctypes.CDLL, driver: FakeDriver, root: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """The fake driver in this process; whoever opens NVML must have closed it in the end."""
    environment = driver.environment()
    for name in ("FAKE_NVML_SCENARIO", "FAKE_NVML_LOG", "FAKE_NVML_PLANT"):
        monkeypatch.setenv(name, environment[name])
    plant = Plant(driver.plant_file, now_s=1000.0)
    bench = Bench(driver=driver, library=held_nvml, plant=plant, root=root)
    yield bench
    assert bench.n_open == 0
