"""A fake NVIDIA driver library under the real ``nvidia-ml-py``: scenarios, build, and a probe run.

The library is compiled from the C files beside this one and found by ``LD_LIBRARY_PATH`` in a
process of its own, so that the test process does not hold it; ``held.py`` lends it for a while.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOURCES = sorted(Path(__file__).parent.glob("*.c"))
CHECKOUT = Path(__file__).parents[3]

Values = dict[str, str | int | float]


def build(folder: Path, *flags: str) -> Path:
    """Compile the library into ``folder`` and return the folder for ``LD_LIBRARY_PATH``."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("no C compiler (cc) to build the fake NVML with")
    folder.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1"]
    command += ["-shared", "-fPIC", "-pthread", "-Wl,-soname,libnvidia-ml.so.1", *flags]
    subprocess.run(
        [*command, "-o", str(folder / "libnvidia-ml.so.1"), *map(str, SOURCES)],
        check=True,
        capture_output=True,
        text=True,
    )
    return folder


def rtx_4090(**changes: str | int | float) -> Values:
    """Return what the driver says of an idle RTX 4090."""
    return {
        "name": "NVIDIA GeForce RTX 4090",
        "uuid": "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",
        "bus_id": "00000000:C1:00.0",
        "pci_device_id": 0x268410DE,
        "total_mib": 24564,
        "reserved_mib": 484,
        "used_mib": 4,
        "compute_capability": "8.9",
        "cores": 16384,
        "max_memory_clock_mhz": 10501,
        "bus_width_bits": 384,
        "power_limit_mw": 450000,
        "pcie_gen": 1,
        "pcie_gen_max": 4,
        "pcie_width": 16,
        "pcie_width_max": 16,
        **changes,
    }


def rtx_3090(**changes: str | int | float) -> Values:
    """Return what the driver says of an idle RTX 3090."""
    values: Values = {
        "name": "NVIDIA GeForce RTX 3090",
        "uuid": "GPU-1b2c3d4e-0000-1111-2222-333344445555",
        "bus_id": "00000000:21:00.0",
        "pci_device_id": 0x220410DE,
        "total_mib": 24576,
        "reserved_mib": 452,
        "compute_capability": "8.6",
        "cores": 10496,
        "max_memory_clock_mhz": 9751,
        "power_limit_mw": 350000,
    }
    return rtx_4090(**{**values, **changes})


def a100_with_mig(**changes: str | int | float) -> Values:
    """Return what the driver says of an A100-80GB divided into 1g.10gb and 3g.40gb."""
    values: Values = {
        "name": "NVIDIA A100-SXM4-80GB",
        "uuid": "GPU-aaaaaaaa-1111-2222-3333-444444444444",
        "bus_id": "00000000:07:00.0",
        "pci_device_id": 0x20B210DE,
        "total_mib": 81920,
        "reserved_mib": 769,
        "compute_capability": "8.0",
        "cores": 6912,
        "max_memory_clock_mhz": 1593,
        "bus_width_bits": 5120,
        "power_limit_mw": 400000,
        "mig_mode": 1,
        "mig.places": 7,
        "mig.0.name": "NVIDIA A100-SXM4-80GB MIG 1g.10gb",
        "mig.0.uuid": "MIG-11111111-aaaa-5555-9999-000000000001",
        "mig.0.total_mib": 9728,
        "mig.0.used_mib": 13,
        "mig.0.multiprocessors": 14,
        "mig.0.slice_mib": 9728,
        "mig.0.gpu_slices": 1,
        "mig.0.compute_slices": 1,
        "mig.3.name": "NVIDIA A100-SXM4-80GB MIG 3g.40gb",
        "mig.3.uuid": "MIG-22222222-aaaa-5555-9999-000000000002",
        "mig.3.total_mib": 40192,
        "mig.3.used_mib": 37,
        "mig.3.multiprocessors": 42,
        "mig.3.slice_mib": 40192,
        "mig.3.gpu_slices": 3,
        "mig.3.compute_slices": 3,
    }
    return rtx_4090(**{**values, **changes})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A machine as its NVIDIA driver would describe it."""

    gpus: tuple[Values, ...] = ()
    system: Values = field(default_factory=dict)

    def text(self) -> str:
        """Return the file that ``FAKE_NVML_SCENARIO`` names."""
        values: Values = {"driver": "560.35.03", "cuda": 12060, "gpus": len(self.gpus)}
        values |= self.system
        for index, gpu in enumerate(self.gpus):
            values |= {f"gpu.{index}.{key}": value for key, value in gpu.items()}
        return "".join(f"{key} = {value}\n" for key, value in values.items())

    def write(self, path: Path) -> None:
        """Put the scenario in place at once: a running program sees the old one or the new one."""
        fresh = path.with_suffix(".new")
        fresh.write_text(self.text())
        fresh.replace(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeDriver:
    """The compiled library, and a folder for the files of one test."""

    library: Path
    """The folder that holds ``libnvidia-ml.so.1``."""
    folder: Path

    @property
    def scenario_file(self) -> Path:
        """Where the library reads its scenario."""
        return self.folder / "scenario.txt"

    @property
    def plant_file(self) -> Path:
        """Where the library looks for the clock and for each GPU's power: ``plant.Plant``."""
        return self.folder / "plant"

    def calls(self) -> list[str]:
        """Return the names of all functions called so far, init and shutdown included."""
        log = self.folder / "calls.txt"
        return log.read_text().split() if log.exists() else []

    def environment(self) -> dict[str, str]:
        """Return the variables for a process that is to use the fake driver."""
        return {
            **os.environ,
            "LD_LIBRARY_PATH": str(self.library),
            "FAKE_NVML_SCENARIO": str(self.scenario_file),
            "FAKE_NVML_LOG": str(self.folder / "calls.txt"),
            "FAKE_NVML_PLANT": str(self.plant_file),
        }

    def run(self, code: str, *arguments: str) -> str:
        """Run Python in a fresh process that finds the fake driver; return what it prints."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, *arguments],
            env=self.environment(),
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def detect(
        self,
        scenario: Scenario,
        *,
        root: Path,
        env: Mapping[str, str] | None = None,
        engine: list[dict[str, Any]] | None = None,
        wake: bool = False,
    ) -> dict[str, Any]:
        """Return the hardware document of ``probes.machine.detect`` under a scenario."""
        scenario.write(self.scenario_file)
        request = {"root": str(root), "env": dict(env or {}), "engine": engine, "wake": wake}
        document: dict[str, Any] = json.loads(self.run(_DETECT, json.dumps(request)))
        return document


def only_device(document: dict[str, Any]) -> dict[str, Any]:
    """Return the device of a hardware document that has one."""
    device: dict[str, Any]
    (device,) = document["devices"]
    return device


_DETECT = """
import json, sys
from pathlib import Path
from localllm.core.generation import EngineDevice
from localllm.core.hardware_document import hardware_document
from localllm.probes.machine import detect

request = json.loads(sys.argv[1])
engine = request["engine"]
devices = None if engine is None else [EngineDevice(**device) for device in engine]
hardware = detect(
    devices, root=Path(request["root"]), env=request["env"], wake_gpus=request["wake"]
)
print(json.dumps(hardware_document(hardware)))
"""
