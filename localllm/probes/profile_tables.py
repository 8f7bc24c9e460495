"""The tables of a hardware profile, checked key by key: TOML -> Device, Host.

Keys that the schema does not know are refused, and every number has a range: a profile wrong by a
unit does not load.

Memory is what a fresh machine without a desktop really has. ``total_mib`` is what the vendor's tool
prints (nvidia-smi; for ROCm the runtime, which prints the same); ``reserved_mib`` is the difference
to the total that the compute runtime gives a program (``cudaMemGetInfo``; on ROCm to what it says
is free), so that ``free = total - reserved`` is the "VRAM" of llama.cpp's own log. ``overhead_mib``
is what is gone when llama.cpp has opened the device (its log: "free"); without it the formulas of
``core/memory.py`` estimate. Where no log of a card was found, its reserve is that of cards of the
same size (8 GB: 383 MiB, 12: 381, 16: 461, 24: 484, 32: 501, 48: 632), and the file says so.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localllm.core.hardware import Backend, Device, Host
from localllm.errors import IntegrityError
from localllm.units import GiB, MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of a table: its type, and for numbers the range that a right unit falls in."""

    kind: type
    least: float = 0
    most: float = 0
    required: bool = False
    choices: tuple[str, ...] = ()
    pattern: str = ""


GPU_MEMORY_TYPES = (
    *("GDDR5", "GDDR5X", "GDDR6", "GDDR6X", "GDDR7", "HBM2", "HBM2e", "HBM3", "HBM3e"),
    *("LPDDR4X", "LPDDR5", "LPDDR5X"),
)

TOP: Mapping[str, Key] = {
    "description": Key(kind=str, required=True),
    "source": Key(kind=str, required=True),
    "notes": Key(kind=list),
    "aliases": Key(kind=list),
}
_GPU: Mapping[str, Key] = {
    "description": Key(kind=str),
    "backend": Key(kind=str, required=True, choices=("cuda", "rocm", "metal", "vulkan")),
    "kind": Key(kind=str, choices=("gpu", "igpu")),
    "total_mib": Key(kind=int, least=512, most=2_000_000, required=True),
    "reserved_mib": Key(kind=int, least=0, most=20_000),
    "overhead_mib": Key(kind=int, least=0, most=20_000),
    "alignment_bytes": Key(kind=int, least=16, most=4096),
    "unified": Key(kind=bool),
    "compute_capability": Key(kind=str),
    "arch": Key(kind=str, pattern=r"gfx[0-9a-f]{3,4}"),
    "n_multiprocessors": Key(kind=int, least=1, most=2_000),
    "memory_type": Key(kind=str, choices=GPU_MEMORY_TYPES),
    "memory_bandwidth_gb_s": Key(kind=float, least=10, most=20_000, required=True),
    "fp32_tflops": Key(kind=float, least=0.5, most=500),
    "fp16_tflops": Key(kind=float, least=0.5, most=10_000),
    "int8_tops": Key(kind=float, least=1, most=20_000),
    "fp8_tflops": Key(kind=float, least=1, most=20_000),
    "fp4_tflops": Key(kind=float, least=1, most=40_000),
    "pcie_gen": Key(kind=int, least=1, most=7),
    "pcie_width": Key(kind=int, least=1, most=16),
    "nvlink_gb_s": Key(kind=float, least=20, most=5_000),
    "power_limit_w": Key(kind=float, least=5, most=3_000),
    "idle_power_w": Key(kind=float, least=0.5, most=300),
    "mig": Key(kind=str),
}
_HOST: Mapping[str, Key] = {
    "cpu": Key(kind=str, required=True),
    "os": Key(kind=str, choices=("linux", "darwin", "windows")),
    "machine": Key(kind=str, required=True, choices=("x86_64", "arm64", "aarch64")),
    "total_gib": Key(kind=float, least=1, most=16_384, required=True),
    "available_gib": Key(kind=float, least=0.5, most=16_384, required=True),
    "n_cores_physical": Key(kind=int, least=1, most=2_048, required=True),
    "n_cores_performance": Key(kind=int, least=1, most=2_048),
    "n_threads_logical": Key(kind=int, least=1, most=4_096, required=True),
    "isa": Key(kind=list, required=True),
    "n_numa_nodes": Key(kind=int, least=1, most=64),
    "memory_bandwidth_gb_s": Key(kind=float, least=5, most=5_000, required=True),
    "memory_type": Key(kind=str, pattern=r"(LP)?DDR[345]X?-\d{3,5}"),
    "n_memory_channels": Key(kind=int, least=1, most=64),
    "power_limit_w": Key(kind=float, least=1, most=3_000),
}


def device_from_table(name: str, table: object, description: str) -> Device:
    """Return the device of a ``[gpu]`` table. Raises IntegrityError."""
    gpu = checked(name, "gpu", table, _GPU)
    backend: Backend = gpu["backend"]
    total = gpu["total_mib"] * MiB
    reserved = gpu.get("reserved_mib", 0) * MiB
    if reserved >= total:
        raise bad(name, "[gpu] reserved_mib leaves nothing of total_mib")
    unknown = {"reserved_bytes": "the profile does not say"} if "reserved_mib" not in gpu else {}
    same = (
        *("memory_type", "fp32_tflops", "fp16_tflops", "int8_tops", "fp8_tflops", "fp4_tflops"),
        *("nvlink_gb_s", "power_limit_w", "idle_power_w", "arch", "n_multiprocessors"),
        *("alignment_bytes", "mig", "pcie_gen", "pcie_width"),
    )
    return Device(
        name=backend,
        description=gpu.get("description", description),
        kind=gpu.get("kind", "gpu"),
        backend=backend,
        total_bytes=total,
        free_bytes=total - reserved,
        reserved_bytes=None if unknown else reserved,
        unified=gpu.get("unified", False),
        compute_capability=_capability(name, gpu.get("compute_capability")),
        memory_bandwidth_gb_s=gpu["memory_bandwidth_gb_s"],
        memory_bandwidth_basis="profile",
        pcie_gen_max=gpu.get("pcie_gen"),
        pcie_width_max=gpu.get("pcie_width"),
        overhead_bytes=gpu["overhead_mib"] * MiB if "overhead_mib" in gpu else None,
        unknown=unknown,
        **{key: gpu[key] for key in same if key in gpu},
    )


def host_from_table(name: str, table: object) -> Host:
    """Return the host of a ``[host]`` table. Raises IntegrityError."""
    host = checked(name, "host", table, _HOST)
    total, available = round(host["total_gib"] * GiB), round(host["available_gib"] * GiB)
    if available > total:
        raise bad(name, "[host] available_gib is more than total_gib")
    cores, threads = host["n_cores_physical"], host["n_threads_logical"]
    fast = host.get("n_cores_performance", cores)
    if not fast <= cores <= threads:
        raise bad(name, "[host] must have performance cores <= physical cores <= threads")
    return Host(
        cpu=host["cpu"],
        os=host.get("os", "linux"),
        machine=host["machine"],
        total_bytes=total,
        available_bytes=available,
        n_cores_physical=cores,
        n_cores_performance=fast,
        n_threads_logical=threads,
        isa=tuple(host["isa"]),
        n_numa_nodes=host.get("n_numa_nodes", 1),
        memory_bandwidth_gb_s=host["memory_bandwidth_gb_s"],
        memory_bandwidth_basis="profile",
        memory_type=host.get("memory_type"),
        n_memory_channels=host.get("n_memory_channels"),
        power_limit_w=host.get("power_limit_w"),
    )


def checked(name: str, table: str, data: object, schema: Mapping[str, Key]) -> dict[str, Any]:
    """Return a table whose keys are known, typed and in range; whole numbers become floats."""
    where = f"[{table}] " if table else ""
    if not isinstance(data, dict):
        raise bad(name, f"{where}must be a table")
    for key in data:
        if key not in schema:
            near = difflib.get_close_matches(key, schema, n=1)
            raise bad(name, f"{where}has no key {key!r}" + (f": {near[0]}?" if near else ""))
    found = {}
    for key, rule in schema.items():
        if key in data:
            found[key] = _checked_value(name, where + key, data[key], rule)
        elif rule.required:
            raise bad(name, f"{where}{key} is missing")
    return found


def bad(name: str, problem: str) -> IntegrityError:
    """Return the error that names a profile's file and what is wrong in it."""
    return IntegrityError(f"profiles/hardware/{name}.toml: {problem}.")


def _checked_value(name: str, where: str, value: object, rule: Key) -> object:
    if rule.kind is float and type(value) is int:
        value = float(value)
    if type(value) is not rule.kind:  # a bool is an int to isinstance
        raise bad(name, f"{where} must be of type {rule.kind.__name__}, not {value!r}")
    if isinstance(value, int | float) and rule.most and not rule.least <= value <= rule.most:
        raise bad(name, f"{where} is {value}: outside {rule.least:g} to {rule.most:g}")
    if isinstance(value, str) and not value.strip():
        raise bad(name, f"{where} is empty")
    if rule.choices and value not in rule.choices:
        raise bad(name, f"{where} must be one of {', '.join(rule.choices)}, not {value!r}")
    if rule.pattern and not re.fullmatch(rule.pattern, str(value)):
        raise bad(name, f"{where} is {value!r}: not of the form {rule.pattern}")
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        raise bad(name, f"{where} must be a list of strings")
    return value


def _capability(name: str, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,2})\.(\d)", text)
    if match is None:
        raise bad(name, f"[gpu] compute_capability must look like 8.9, not {text!r}")
    return int(match[1]), int(match[2])
