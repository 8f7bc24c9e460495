"""Hardware by name: the files of ``profiles/hardware``, put together to machines.

A file describes a GPU (``host`` names a plain host to put it in), a host (a table ``[host]``) or a
whole machine: ``[host]`` with ``[gpu]`` or several ``[[gpu]]``, or ``[cards]``, so many of another
file's GPU with the links between them. What else a file may hold is in ``profile_tables.py`` (the
keys and their ranges) and ``profile_variants.py`` (MIG slices, memory sizes); how a person's
spelling finds it, in ``profile_names.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from localllm.core.hardware import Device, Hardware, HardwareProfile, Host
from localllm.errors import UsageError
from localllm.probes.profile_names import profile_names, read_profile
from localllm.probes.profile_tables import (
    TOP,
    Key,
    bad,
    checked,
    device_from_table,
    host_from_table,
)
from localllm.probes.profile_variants import slice_of, variant_table, with_memory
from localllm.units import format_bytes

__all__ = ["load_profile", "number_devices", "parse_profile", "profile_names", "ram_note"]

_COUNTED = re.compile(r"\s*(\d{1,3})\s*[x×]\s*(\S.*?)\s*", re.IGNORECASE)
_MOST_GPUS = 16
"""llama.cpp's ``llama_max_devices``."""

_TABLES = ("host", "gpu", "cards", "mig", "memory")
_CARDS: Mapping[str, Key] = {
    "profile": Key(kind=str, required=True),
    "count": Key(kind=int, least=2, most=_MOST_GPUS, required=True),
    "nvlink_gb_s": Key(kind=float, least=20, most=5_000),
}


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
    """Return devices under the names that llama.cpp would give them: CUDA0, CUDA1, ROCm0.

    Raises UsageError for a MIG slice beside another NVIDIA device: CUDA shows a process one slice
    and then nothing else (NVIDIA's MIG user guide, "CUDA device enumeration").
    """
    slices = [device for device in devices if device.backend == "cuda" and device.mig]
    if slices and sum(device.backend == "cuda" for device in devices) > 1:
        raise UsageError(
            f"A process can use one MIG slice and no other NVIDIA GPU beside it: "
            f"{slices[0].description} is not alone.",
            hint="Take a larger slice, or the whole card.",
        )
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


def parse_profile(name: str, data: Mapping[str, Any], variant: str = "") -> HardwareProfile:
    """Return the profile in a parsed TOML file, or one of its variants (``-mig-1g.10gb``).

    Raises IntegrityError with the file and the key, UsageError for a variant that is not there.
    """
    top = checked(name, "", {key: data[key] for key in data if key not in _TABLES}, TOP)
    sized = with_memory(name, data, variant if variant_table(variant) == "memory" else "")
    devices = _devices(name, sized, top["description"])
    if "mig" in data:
        if len(devices) != 1:
            raise bad(name, "[mig] needs one [gpu]")
        slice_name = variant if variant_table(variant) == "mig" else ""
        devices = [slice_of(name, data["mig"], slice_name, devices[0])]
    place = sized.get("host")
    kind: Literal["gpu", "host", "machine"]
    if isinstance(place, dict):
        kind, host = ("machine" if devices else "host"), host_from_table(name, place)
    elif isinstance(place, str) and "cards" in data:
        kind, host = "machine", _host_named(name, place)
    elif isinstance(place, str) and len(devices) == 1:
        kind, host = "gpu", _host_named(name, place)
    else:
        raise bad(name, "needs a [host] table, or the name of a host and one [gpu] or [cards]")
    label = name + variant
    hardware = Hardware(
        name=label,
        source=f"profile {label}",
        host=host,
        devices=number_devices(devices),
        notes=(*top.get("notes", ()), ram_note(host)),
    )
    return HardwareProfile(name=label, kind=kind, hardware=hardware, source=top["source"])


def _load(name: str) -> HardwareProfile:
    file, variant, data = read_profile(name)
    return parse_profile(file, data, variant)


def _devices(name: str, data: Mapping[str, Any], description: str) -> list[Device]:
    tables = data.get("gpu", [])
    tables = tables if isinstance(tables, list) else [tables]
    devices = [device_from_table(name, table, description) for table in tables]
    if "cards" not in data:
        return devices
    cards = checked(name, "cards", data["cards"], _CARDS)
    card = _named(name, cards["profile"])
    if devices or card.kind != "gpu":
        raise bad(name, f"[cards] counts a GPU's profile and stands for [gpu]: {card.kind}")
    (device,) = card.hardware.devices
    link = cards.get("nvlink_gb_s", device.nvlink_gb_s)
    return [replace(device, nvlink_gb_s=link)] * cards["count"]


def _host_named(name: str, place: str) -> Host:
    profile = _named(name, place)
    if profile.kind != "host":
        raise bad(name, f"{place!r} is a {profile.kind}, not a host")
    return profile.hardware.host


def _named(name: str, other: str) -> HardwareProfile:
    """Return the profile that a file refers to. Raises IntegrityError, naming the file."""
    try:
        profile = _load(other)
    except UsageError as error:
        raise bad(name, f"no profile is called {other!r}") from error
    if profile.name != other:
        raise bad(name, f"no profile is called {other!r}: {profile.name}?")
    return profile
