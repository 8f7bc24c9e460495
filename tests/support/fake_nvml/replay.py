"""Replay of what ``scripts/record_nvml.py`` recorded, through the fake driver.

At each moment every function answers what it last answered in the recording, errors included.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.fake_nvml import Values
from tests.support.fake_nvml.held import Bench

Line = dict[str, Any]

INSUFFICIENT_SIZE = 7

ONE_VALUE = {
    "nvmlDeviceGetTotalEnergyConsumption": "energy_mj",
    "nvmlDeviceGetPowerUsage": "power_mw",
    "nvmlDeviceGetTemperature": "temperature_c",
    "nvmlDeviceGetEnforcedPowerLimit": "power_limit_mw",
    "nvmlDeviceGetCurrentClocksEventReasons": "event_reasons",
    "nvmlDeviceGetCurrentClocksThrottleReasons": "event_reasons",
    "nvmlDeviceGetArchitecture": "architecture",
    "nvmlDeviceGetMigMode": "mig_mode",
}
"""Functions whose first answer is one value of the scenario."""

MEMORY_CLOCK = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A recording as it lies in its file."""

    about: Line
    lines: tuple[Line, ...]

    @property
    def pci_ids(self) -> tuple[str, ...]:
        """The GPUs that were recorded."""
        return tuple(self.about["gpus"])

    @property
    def seconds(self) -> float:
        """Time of the last line."""
        return float(self.lines[-1]["t"])

    def phases(self) -> list[tuple[str, float, float]]:
        """Return the name, the begin and the end of each mark's phase."""
        marks = [(str(line["mark"]), float(line["t"])) for line in self.lines if "mark" in line]
        ends = [t for _, t in marks[1:]] + [self.seconds]
        return [(name, began, end) for (name, began), end in zip(marks, ends, strict=True)]


def load(path: Path) -> Recorded:
    """Read a recording."""
    about, *lines = (json.loads(line) for line in path.read_text().splitlines())
    assert about["format"] == "localllm.nvml-trace/1"
    return Recorded(about=about, lines=tuple(lines))


def replay(recorded: Recorded, nvml: Bench, *, began_s: float, every_s: float) -> Iterator[float]:
    """Play a recording from ``began_s`` on; yield each moment's time since its begin, in seconds.

    The first moment is when everything that opening asks for has been answered.
    """
    machine: dict[str, Values] = {
        pci_id: {"bus_id": pci_id, **gpu} for pci_id, gpu in recorded.about["gpus"].items()
    }
    waiting = [line for line in recorded.lines if "device" in line]
    now_s = 0.0
    while waiting:
        while waiting and waiting[0]["t"] <= now_s + 1e-9:
            _apply(machine, waiting.pop(0))
        nvml.plant.go_to(began_s + now_s)
        nvml.machine(*machine.values(), driver=recorded.about["driver"])
        yield now_s
        now_s += every_s


def _apply(machine: dict[str, Values], line: Line) -> None:
    """Let a GPU answer from now on as it did then."""
    gpu = machine.get(line["device"])
    if gpu is None or line["ret"] == INSUFFICIENT_SIZE:
        return
    function = line["fn"]
    gpu.pop(f"code.{function}", None)
    if line["ret"] != 0:
        gpu[f"code.{function}"] = line["ret"]
        return
    gpu |= _values(function, line.get("args", []), line.get("out", []))


def _values(function: str, arguments: list[Any], out: list[Any]) -> Values:
    """Return an answer as the scenario writes it; nothing for what a replay does not need."""
    if function in ONE_VALUE:
        return {ONE_VALUE[function]: out[0]}
    if function == "nvmlDeviceGetCudaComputeCapability":
        return {"compute_capability": f"{out[0]}.{out[1]}"}
    if function in ("nvmlDeviceGetClockInfo", "nvmlDeviceGetMaxClockInfo"):
        which = "memory_clock_mhz" if arguments[0] == MEMORY_CLOCK else "clock_mhz"
        return {("max_" if "Max" in function else "") + which: out[0]}
    if function == "nvmlDeviceGetMemoryInfo_v2":
        (memory,) = out
        return {f"{name}_mib": memory.get(name, 0) >> 20 for name in ("total", "reserved", "used")}
    if function.startswith("nvmlDeviceGetComputeRunningProcesses"):
        found = out[1] if len(out) > 1 else []
        return {"processes": " ".join(f"{p['pid']}:{p['usedGpuMemory'] >> 20}" for p in found)}
    if function == "nvmlDeviceGetFieldValues":
        values: Values = {}
        for answer in out[0]:
            place = f"field.{answer['fieldId']}.{answer.get('scopeId', 0)}"
            values[f"code.{place}"] = answer.get("nvmlReturn", 0)
            values[place] = answer.get("value", 0)
        return values
    return {}
