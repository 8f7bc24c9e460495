"""The fake driver inside the test process for a while: the real binding over it, and a plant.

The binding finds the library by its name, because one of that name is in the process already. When
the block ends, binding and library are let go of: later tests find a machine without a driver.
"""

from __future__ import annotations

import _ctypes
import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from localllm.power.meter import Meter, Opened, Wanted
from localllm.power.nvml import open_nvml
from tests.support.fake_nvml import FakeDriver, Scenario, Values
from tests.support.fake_nvml.plant import Plant

NAME = "libnvidia-ml.so.1"

PCI_4090 = "0000:c1:00.0"
PCI_3090 = "0000:21:00.0"
PCI_A100 = "0000:07:00.0"

# Return codes by which a scenario takes ways to measure power away.
ENERGY = "code.nvmlDeviceGetTotalEnergyConsumption"
USAGE = "code.nvmlDeviceGetPowerUsage"
NO_COUNTER = {ENERGY: 3, "code.field.83": 3}
NO_INSTANT = {**NO_COUNTER, "code.field.186": 3}
ONLY_USAGE = {**NO_COUNTER, "code.nvmlDeviceGetFieldValues": 13}
NO_GPU_SCOPE = {**NO_COUNTER, "code.field.186.0": 3, "code.field.185.0": 3, USAGE: 3}


@contextmanager
def held(library: Path) -> Iterator[ctypes.CDLL]:
    """Hold a compiled library, and a binding that nobody has used yet."""
    ours = ctypes.CDLL(str(library / NAME))
    found = ctypes.CDLL(NAME)
    if not hasattr(found, "fake_nvml_plant_size"):
        pytest.skip("this process holds a real NVIDIA driver already")
    sys.modules.pop("pynvml", None)
    try:
        yield ours
    finally:
        binding = sys.modules.pop("pynvml", None)
        for handle in (ours, found, getattr(binding, "nvmlLib", None)):
            if handle is not None:
                _ctypes.dlclose(handle._handle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A machine with fake GPUs, whose clock stands still until it is moved."""

    driver: FakeDriver
    library: ctypes.CDLL
    plant: Plant
    root: Path

    @property
    def n_open(self) -> int:
        """How often NVML was opened and not closed again."""
        return ctypes.c_int.in_dll(self.library, "opened").value

    def machine(self, *gpus: Values, **system: str | int) -> None:
        """Put GPUs into the machine; those of before are gone."""
        Scenario(gpus=gpus, system=dict(system)).write(self.driver.scenario_file)
        self.plant.scenario_changed()

    def open(self, *pci_ids: str) -> Opened:
        """Open the meters of GPUs."""
        return open_nvml(Wanted(pci_ids=pci_ids, root=self.root, clock=self.plant.clock))


def close(opened: Opened) -> None:
    """Close everything that was opened."""
    for meter in opened.meters:
        meter.close()
    for watcher in opened.watchers:
        watcher.close()


def only_meter(opened: Opened) -> Meter:
    """Return the one meter that was opened."""
    (meter,) = opened.meters
    return meter
