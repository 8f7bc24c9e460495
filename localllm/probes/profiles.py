"""Hardware by name: the files of ``profiles/hardware``, checked field by field.

A file describes a GPU (with ``host`` the name of a plain host to put it in), a host (with a table
``[host]``) or a whole machine (``[host]`` and ``[gpu]`` or several ``[[gpu]]``). Keys that the
schema does not know are refused, and every number has a range: a profile wrong by a unit does not
load.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from localllm.core.hardware import Backend, Device, Hardware, HardwareProfile, Host
from localllm.errors import IntegrityError, UsageError
from localllm.units import GiB, MiB, format_bytes

_COUNTED = re.compile(r"\s*(\d+)\s*x\s+(\S+)\s*", re.IGNORECASE)
_MOST_GPUS = 16
"""llama.cpp's ``llama_max_devices``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """One key of a table: its type, and for numbers the range that a right unit falls in."""

    kind: type
    least: float = 0
    most: float = 0
    required: bool = False
    choices: tuple[str, ...] = ()


_TOP = {
    "description": _Key(kind=str, required=True),
    "source": _Key(kind=str, required=True),
    "notes": _Key(kind=list),
}
_GPU = {
    "description": _Key(kind=str),
    "backend": _Key(kind=str, required=True, choices=("cuda", "rocm", "metal", "vulkan")),
    "kind": _Key(kind=str, choices=("gpu", "igpu")),
    "total_mib": _Key(kind=int, least=512, most=2_000_000, required=True),
    "reserved_mib": _Key(kind=int, least=0, most=20_000),
    "overhead_mib": _Key(kind=int, least=0, most=20_000),
    "unified": _Key(kind=bool),
    "compute_capability": _Key(kind=str),
    "arch": _Key(kind=str),
    "n_multiprocessors": _Key(kind=int, least=1, most=2_000),
    "memory_bandwidth_gb_s": _Key(kind=float, least=10, most=20_000, required=True),
    "pcie_gen": _Key(kind=int, least=1, most=7),
    "pcie_width": _Key(kind=int, least=1, most=16),
    "power_limit_w": _Key(kind=float, least=5, most=3_000),
    "mig": _Key(kind=str),
}
_HOST = {
    "cpu": _Key(kind=str, required=True),
    "os": _Key(kind=str, choices=("linux", "darwin", "windows")),
    "machine": _Key(kind=str, required=True, choices=("x86_64", "arm64", "aarch64")),
    "total_gib": _Key(kind=float, least=1, most=16_384, required=True),
    "available_gib": _Key(kind=float, least=0.5, most=16_384, required=True),
    "n_cores_physical": _Key(kind=int, least=1, most=2_048, required=True),
    "n_cores_performance": _Key(kind=int, least=1, most=2_048),
    "n_threads_logical": _Key(kind=int, least=1, most=4_096, required=True),
    "isa": _Key(kind=list, required=True),
    "n_numa_nodes": _Key(kind=int, least=1, most=64),
    "memory_bandwidth_gb_s": _Key(kind=float, least=5, most=5_000, required=True),
}


def profile_names() -> tuple[str, ...]:
    """Return the names of all profiles, sorted."""
    entries = (entry.name for entry in _folder().iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in entries if name.endswith(".toml")))


def load_profile(name: str) -> HardwareProfile:
    """Return a profile by name; ``2x rtx-4090`` and ``2 x rtx-4090`` are two of a GPU in one host.

    Raises UsageError with the nearest names for an unknown one, IntegrityError for a bad file.
    """
    counted = _COUNTED.fullmatch(name)
    if counted is None:
        return _load(name.strip())
    profile = _load(counted.group(2))
    count = int(counted.group(1))
    if profile.kind != "gpu" and count != 1:
        raise UsageError(f"{profile.name} is a whole {profile.kind}: it cannot be counted.")
    if not 1 <= count <= _MOST_GPUS:
        raise UsageError(f"llama.cpp takes 1 to {_MOST_GPUS} devices, not {count}.")
    machine = profile.hardware
    label = profile.name if count == 1 else f"{count}x {profile.name}"
    return replace(
        profile,
        name=label,
        hardware=replace(
            machine,
            name=label,
            source=f"profile {label}",
            devices=number_devices(machine.devices * count),
        ),
    )


def number_devices(devices: Sequence[Device]) -> tuple[Device, ...]:
    """Return devices under the names that llama.cpp would give them: CUDA0, CUDA1, ROCm0."""
    prefixes = {"cuda": "CUDA", "rocm": "ROCm", "metal": "MTL", "vulkan": "Vulkan"}
    seen: dict[str, int] = {}
    named = []
    for device in devices:
        prefix = prefixes.get(device.backend, "GPU")
        named.append(replace(device, name=f"{prefix}{seen.get(prefix, 0)}"))
        seen[prefix] = seen.get(prefix, 0) + 1
    return tuple(named)


def ram_note(host: Host) -> str:
    """Return the sentence that a plan for a profile must carry: nobody knows that machine's RAM."""
    return (
        f"a profile's RAM is assumed: {format_bytes(host.total_bytes)}, of which "
        f"{format_bytes(host.available_bytes)} are available"
    )


def parse_profile(name: str, data: Mapping[str, Any]) -> HardwareProfile:
    """Return the profile in a parsed TOML file. Raises IntegrityError with the file and the key."""
    plain = {key: value for key, value in data.items() if key not in ("host", "gpu")}
    top = _checked(name, "", plain, _TOP)
    tables = data.get("gpu", [])
    tables = tables if isinstance(tables, list) else [tables]
    devices = number_devices([_device(name, table, top["description"]) for table in tables])
    place = data.get("host")
    kind: Literal["gpu", "host", "machine"]
    if isinstance(place, dict):
        kind, host = ("machine" if devices else "host"), _host(name, place)
    elif isinstance(place, str) and len(devices) == 1:
        kind, host = "gpu", _host_named(name, place)
    else:
        raise _bad(name, "needs a [host] table, or one [gpu] and the name of a host")
    hardware = Hardware(
        name=name,
        source=f"profile {name}",
        host=host,
        devices=devices,
        notes=(*top.get("notes", ()), ram_note(host)),
    )
    return HardwareProfile(name=name, kind=kind, hardware=hardware, source=top["source"])


def _load(name: str) -> HardwareProfile:
    if name not in profile_names():
        near = difflib.get_close_matches(name.lower(), profile_names(), n=3, cutoff=0.4)
        hint = f"Nearest: {', '.join(near)}." if near else f"Known: {', '.join(profile_names())}."
        raise UsageError(f"No hardware profile is called {name!r}.", hint=hint)
    try:
        data = tomllib.loads((_folder() / f"{name}.toml").read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _bad(name, f"is not TOML: {error}") from error
    return parse_profile(name, data)


def _folder() -> Traversable:
    """Return the profiles inside the installed package, or those of the checkout."""
    packaged = files("localllm") / "_profiles" / "hardware"
    if packaged.is_dir():
        return packaged
    return Path(__file__).parents[2] / "profiles" / "hardware"


def _host_named(name: str, place: str) -> Host:
    if place not in profile_names():
        raise _bad(name, f"no host profile is called {place!r}")
    profile = _load(place)
    if profile.kind != "host":
        raise _bad(name, f"{place!r} is a {profile.kind}, not a host")
    return profile.hardware.host


def _device(name: str, table: object, description: str) -> Device:
    gpu = _checked(name, "gpu", table, _GPU)
    backend: Backend = gpu["backend"]
    total = gpu["total_mib"] * MiB
    reserved = gpu.get("reserved_mib", 0) * MiB
    unknown = {"reserved_bytes": "the profile does not say"} if "reserved_mib" not in gpu else {}
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
        arch=gpu.get("arch"),
        n_multiprocessors=gpu.get("n_multiprocessors"),
        memory_bandwidth_gb_s=gpu["memory_bandwidth_gb_s"],
        memory_bandwidth_basis="profile",
        pcie_gen=gpu.get("pcie_gen"),
        pcie_gen_max=gpu.get("pcie_gen"),
        pcie_width=gpu.get("pcie_width"),
        pcie_width_max=gpu.get("pcie_width"),
        power_limit_w=gpu.get("power_limit_w"),
        mig=gpu.get("mig"),
        overhead_bytes=gpu["overhead_mib"] * MiB if "overhead_mib" in gpu else None,
        unknown=unknown,
    )


def _host(name: str, table: object) -> Host:
    host = _checked(name, "host", table, _HOST)
    total, available = round(host["total_gib"] * GiB), round(host["available_gib"] * GiB)
    if available > total:
        raise _bad(name, "[host] available_gib is more than total_gib")
    cores, threads = host["n_cores_physical"], host["n_threads_logical"]
    fast = host.get("n_cores_performance", cores)
    if not fast <= cores <= threads:
        raise _bad(name, "[host] must have performance cores <= physical cores <= threads")
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
    )


def _capability(name: str, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,2})\.(\d)", text)
    if match is None:
        raise _bad(name, f"[gpu] compute_capability must look like 8.9, not {text!r}")
    return int(match[1]), int(match[2])


def _checked(name: str, table: str, data: object, schema: Mapping[str, _Key]) -> dict[str, Any]:
    """Return a table whose keys are known, typed and in range; whole numbers become floats."""
    where = f"[{table}] " if table else ""
    if not isinstance(data, dict):
        raise _bad(name, f"{where}must be a table")
    for key in data:
        if key not in schema:
            near = difflib.get_close_matches(key, schema, n=1)
            raise _bad(name, f"{where}has no key {key!r}" + (f": {near[0]}?" if near else ""))
    checked = {}
    for key, rule in schema.items():
        if key in data:
            checked[key] = _checked_value(name, where + key, data[key], rule)
        elif rule.required:
            raise _bad(name, f"{where}{key} is missing")
    return checked


def _checked_value(name: str, where: str, value: object, rule: _Key) -> object:
    if rule.kind is float and type(value) is int:
        value = float(value)
    if type(value) is not rule.kind:  # a bool is an int to isinstance
        raise _bad(name, f"{where} must be of type {rule.kind.__name__}, not {value!r}")
    if isinstance(value, int | float) and rule.most and not rule.least <= value <= rule.most:
        raise _bad(name, f"{where} is {value}: outside {rule.least:g} to {rule.most:g}")
    if isinstance(value, str) and not value.strip():
        raise _bad(name, f"{where} is empty")
    if rule.choices and value not in rule.choices:
        raise _bad(name, f"{where} must be one of {', '.join(rule.choices)}, not {value!r}")
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        raise _bad(name, f"{where} must be a list of strings")
    return value


def _bad(name: str, problem: str) -> IntegrityError:
    return IntegrityError(f"profiles/hardware/{name}.toml: {problem}.")
