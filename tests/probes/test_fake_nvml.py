"""The fake driver library itself, and how the real binding finds it."""

from __future__ import annotations

import ctypes
import json
import shutil
import sys
from pathlib import Path

import pytest

from localllm.units import MiB
from tests.support.fake_nvml import FakeDriver, Scenario, only_device, rtx_4090
from tests.support.fake_nvml.held import NAME, held
from tests.support.fake_nvml.plant import SIZE


def test_the_fakes_structs_are_as_large_as_the_bindings(driver: FakeDriver) -> None:
    code = """
import ctypes, json, sys
import pynvml as n
library = ctypes.CDLL("libnvidia-ml.so.1")
structs = [n.c_nvmlMemory_t, n.c_nvmlMemory_v2_t, n.nvmlPciInfo_t, n.c_nvmlProcessInfo_t,
           n.c_nvmlDeviceAttributes, n.c_nvmlFieldValue_t]
plant = ctypes.c_uint.in_dll(library, "fake_nvml_plant_size").value
sizes = (ctypes.c_uint * len(structs)).in_dll(library, "fake_nvml_sizes")
print(json.dumps([list(sizes), [ctypes.sizeof(struct) for struct in structs], plant]))
"""
    Scenario().write(driver.scenario_file)

    fake, binding, plant = json.loads(driver.run(code))

    assert fake == binding == [24, 40, 68, 24, 40, 40]
    assert plant == SIZE
    assert ctypes.sizeof(ctypes.c_void_p) == 8


def test_a_scenario_may_change_while_a_program_runs(driver: FakeDriver) -> None:
    code = """
import os, sys
import pynvml
from tests.support.fake_nvml import Scenario, only_device, rtx_4090
from pathlib import Path
pynvml.nvmlInit()
handle = pynvml.nvmlDeviceGetHandleByIndex(0)
for used in (100, 200):
    Scenario(gpus=(rtx_4090(used_mib=used),)).write(Path(os.environ["FAKE_NVML_SCENARIO"]))
    print(pynvml.nvmlDeviceGetMemoryInfo(handle, pynvml.nvmlMemory_v2).used >> 20)
"""
    Scenario(gpus=(rtx_4090(),)).write(driver.scenario_file)

    assert driver.run(code).split() == ["100", "200"]


def _real_driver() -> bool:
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


@pytest.mark.skipif(_real_driver(), reason="a real NVIDIA driver would answer instead")
def test_a_library_that_the_loader_does_not_find_is_found_where_wsl_keeps_it(
    driver: FakeDriver, machine: Path
) -> None:
    place = machine / "usr/lib/wsl/lib"
    place.mkdir(parents=True)
    shutil.copy(driver.library / "libnvidia-ml.so.1", place)
    empty = FakeDriver(library=machine / "nowhere", folder=driver.folder)

    device = only_device(empty.detect(Scenario(gpus=(rtx_4090(),)), root=machine))

    assert device["total_bytes"] == 24564 * MiB


@pytest.mark.skipif(_real_driver(), reason="a real NVIDIA driver would answer instead")
def test_a_machine_without_the_library_at_all_is_a_cpu_machine(
    driver: FakeDriver, machine: Path
) -> None:
    empty = FakeDriver(library=machine / "nowhere", folder=driver.folder)

    document = empty.detect(Scenario(), root=machine)

    assert document["devices"] == []
    assert any("no NVIDIA driver is installed" in note for note in document["notes"])


@pytest.mark.skipif(_real_driver(), reason="a real NVIDIA driver would answer instead")
def test_a_library_held_for_a_while_is_gone_afterwards(driver: FakeDriver) -> None:
    Scenario().write(driver.scenario_file)

    with held(driver.library):
        import pynvml

        pynvml.nvmlInit()
        pynvml.nvmlShutdown()

    with pytest.raises(OSError):
        ctypes.CDLL(NAME)
    assert "pynvml" not in sys.modules
