"""Profiles that one file holds several of: the MIG slices of a card, the memory sizes of a machine.

A table ``[mig]`` gives ``CARD-mig-1g.10gb`` for every slice that NVIDIA's driver offers on the
card; a table ``[memory]`` gives ``MACHINE-128gb`` for every size that the machine is sold with. So
a card's or chip's figures stand in one place, and nothing else of it is repeated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from localllm.core.hardware import Device
from localllm.errors import UsageError
from localllm.probes.profile_tables import Key, bad, checked
from localllm.units import GiB, MiB

VARIANT_TABLES = ("mig", "memory")
_SLICE_MARK = "-mig-"
_SIZE = re.compile(r"(.+)-(\d+)gb")

_MIG: Mapping[str, Key] = {
    "source": Key(kind=str, required=True),
    "memory_parts": Key(kind=int, least=2, most=8, required=True),
}
_SLICE: Mapping[str, Key] = {
    "total_mib": Key(kind=int, least=2_048, most=400_000, required=True),
    "memory_parts": Key(kind=int, least=1, most=8, required=True),
    "n_multiprocessors": Key(kind=int, least=4, most=400, required=True),
}
_MEMORY: Mapping[str, Key] = {
    "default_gib": Key(kind=int, least=1, most=4_096, required=True),
    "system_gib": Key(kind=float, least=0.25, most=64, required=True),
    "gpu_share": Key(kind=str, choices=("metal", "half")),
}
_SLICE_RESERVED_MIB = 13
"""Gone of a slice before anything runs, for each part of the card's memory: nvidia-smi shows 12 to
13 MiB in use in an empty 1g slice and four times that in a 3g one."""


def variants(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the names of a file's variants end in: ``-mig-1g.10gb``, ``-128gb``."""
    mig, memory = data.get("mig", {}), data.get("memory", {})
    slices = mig.get("slices", {}) if isinstance(mig, dict) else {}
    sizes = memory.get("sizes_gib", []) if isinstance(memory, dict) else []
    return (*(f"{_SLICE_MARK}{name}" for name in slices), *(f"-{gib}gb" for gib in sizes))


def split_name(name: str) -> tuple[str, str]:
    """Return the name of the file that may hold a variant, and the variant; two empty strings."""
    base, mark, part = name.partition(_SLICE_MARK)
    if mark:
        return base, mark + part
    sized = _SIZE.fullmatch(name)
    return (sized[1], f"-{sized[2]}gb") if sized else ("", "")


def slice_variant(label: str) -> str:
    """Return the variant of a MIG slice by its name: ``-mig-1g.10gb`` for ``1g.10gb``."""
    return _SLICE_MARK + label


def variant_table(variant: str) -> str:
    """Return the table that a variant is in: ``mig`` or ``memory``."""
    return "mig" if variant.startswith(_SLICE_MARK) else "memory"


def with_memory(name: str, data: Mapping[str, Any], variant: str) -> dict[str, Any]:
    """Return a file's tables with the RAM of a variant (or the usual one) filled in.

    The system keeps ``system_gib``. What a GPU may take of unified memory is Metal's working set
    (``metal``), or half, which is what Linux maps for an integrated Radeon (``half``).
    """
    plain = {key: value for key, value in data.items() if key != "memory"}
    if "memory" not in data:
        return plain
    table = data["memory"]
    sizes = table.get("sizes_gib") if isinstance(table, dict) else None
    if not isinstance(sizes, list) or not sizes or not all(type(size) is int for size in sizes):
        raise bad(name, "[memory] sizes_gib must be a list of whole numbers")
    rest = {key: value for key, value in table.items() if key != "sizes_gib"}
    memory = checked(name, "memory", rest, _MEMORY)
    default = memory["default_gib"]
    if default not in sizes:
        raise bad(name, f"[memory] default_gib {default} is not among sizes_gib")
    gib = int(variant[1:-2]) if variant else default
    if gib not in sizes:
        known = ", ".join(f"{name}-{size}gb" for size in sizes)
        raise UsageError(f"{name} is not sold with {gib} GB.", hint=f"There is {known}.")
    host = plain.get("host")
    if not isinstance(host, dict) or "total_gib" in host or "available_gib" in host:
        raise bad(name, "[memory] needs a [host] without total_gib and available_gib")
    plain["host"] = host | {"total_gib": gib, "available_gib": gib - memory["system_gib"]}
    share = memory.get("gpu_share")
    if share is not None:
        gpu = plain.get("gpu")
        if not isinstance(gpu, dict) or "total_mib" in gpu or gpu.get("unified") is not True:
            raise bad(name, "[memory] gpu_share needs one unified [gpu] without total_mib")
        part = _metal_share(gib * GiB) if share == "metal" else gib * GiB // 2
        plain["gpu"] = gpu | {"total_mib": part // MiB}
    return plain


def _metal_share(memory_bytes: int) -> int:
    from localllm.probes.apple import gpu_working_set_bytes  # it imports subprocess

    return gpu_working_set_bytes(memory_bytes, 0)


def slice_of(name: str, table: object, variant: str, card: Device) -> Device:
    """Return a MIG slice of a card; for an empty variant the card itself, the table checked.

    Memory and multiprocessors are what the driver gives the slice (``nvidia-smi mig -lgip``), not
    fractions of the card: an A100 has 108 multiprocessors and its slices together 98. Bandwidth
    goes with the memory's parts, arithmetic with the multiprocessors. Power is the whole card's.
    """
    if not isinstance(table, dict):
        raise bad(name, "[mig] must be a table")
    mig = checked(name, "mig", {key: table[key] for key in table if key != "slices"}, _MIG)
    slices = table.get("slices")
    if not isinstance(slices, dict) or not slices:
        raise bad(name, "[mig] needs a table of slices")
    rows = {key: checked(name, f"mig.slices.{key}", row, _SLICE) for key, row in slices.items()}
    if not variant:
        return card
    label = variant.removeprefix(_SLICE_MARK)
    if label not in rows:
        raise UsageError(
            f"{name} has no MIG slice {label!r}.", hint=f"There is {', '.join(sorted(rows))}."
        )
    row = rows[label]
    if card.n_multiprocessors is None or card.memory_bandwidth_gb_s is None:
        raise bad(name, "[mig] needs the card's n_multiprocessors")
    arithmetic = row["n_multiprocessors"] / card.n_multiprocessors
    reserved = _SLICE_RESERVED_MIB * row["memory_parts"] * MiB
    share = row["memory_parts"] / mig["memory_parts"]

    def part(figure: float | None) -> float | None:
        return None if figure is None else round(figure * arithmetic, 2)

    return replace(
        card,
        description=f"{card.description} MIG {label}",
        total_bytes=row["total_mib"] * MiB,
        free_bytes=row["total_mib"] * MiB - reserved,
        reserved_bytes=reserved,
        overhead_bytes=None,
        n_multiprocessors=row["n_multiprocessors"],
        memory_bandwidth_gb_s=card.memory_bandwidth_gb_s * share,
        memory_bandwidth_basis="profile: the slice's share of the card",
        fp32_tflops=part(card.fp32_tflops),
        fp16_tflops=part(card.fp16_tflops),
        int8_tops=part(card.int8_tops),
        fp8_tflops=part(card.fp8_tflops),
        fp4_tflops=part(card.fp4_tflops),
        nvlink_gb_s=None,
        power_limit_w=None,
        idle_power_w=None,
        mig=label,
        unknown={**card.unknown, "power_limit_w": "power is that of the whole card"},
    )
