"""MIG: the slices of a divided NVIDIA GPU, each a device to CUDA.

A divided card cannot be used as a whole. Memory is the slice's own; power, clocks and the PCIe link
are the card's.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from localllm.core.hardware import Device
from localllm.system import nvml
from localllm.system.nvml import Nvml
from localllm.units import GiB, MiB

_PROFILE = re.compile(r"\bMIG ((?:\d+c\.)?\d+g\.\d+gb\S*)")


def slices(session: Nvml, parent_handle: Any, parent: Device) -> tuple[list[Device], list[str]]:
    """Return the slices of a card and notes about it; nothing for a card that is whole."""
    if parent.mig is None:
        return [], []
    api = session.api
    places, failure = session.attempt(api.nvmlDeviceGetMaxMigDeviceCount, parent_handle)
    found: list[Device] = []
    for index in range(places or 0):
        handle, missing = session.attempt(
            api.nvmlDeviceGetMigDeviceHandleByIndex, parent_handle, index
        )
        if handle is None:
            if missing is not None and missing[0] != nvml.NOT_FOUND:  # not an empty place
                failure = missing
            continue
        found.append(_read_slice(session, handle, len(found), parent))
    where = f"{parent.description} at {parent.pci_id}"
    if failure is not None:
        return found, [f"{where}: its MIG slices could not all be read: {failure[1]}"]
    if not found:
        return found, [f"{where} is in MIG mode without a slice: CUDA cannot use it"]
    count = "1 slice" if len(found) == 1 else f"{len(found)} slices"
    return found, [f"{where} is divided into {count} (MIG): a process can use one of them"]


def profile_name(*, card_bytes: int, slice_bytes: int, gpu_slices: int, compute_slices: int) -> str:
    """Return a slice's name (``1g.10gb``, ``1c.3g.20gb``) from its share of the card.

    Memory comes in eighths of the card, named by the card's size in whole GiB (NVIDIA's MIG user
    guide, "MIG Device Names"; the rounding is that of its Kubernetes tools).
    """
    eighths = -(-slice_bytes * 8 // card_bytes)
    gigabytes = round(eighths / 8 * -(-card_bytes // GiB))
    name = f"{gpu_slices}g.{gigabytes}gb"
    return name if compute_slices == gpu_slices else f"{compute_slices}c.{name}"


def _read_slice(session: Nvml, handle: Any, index: int, parent: Device) -> Device:
    api = session.api
    unknown = {
        key: reason
        for key, reason in parent.unknown.items()
        if key not in ("total_bytes", "free_bytes", "reserved_bytes", "description", "uuid")
    }
    name = session.read(unknown, "description", api.nvmlDeviceGetName, handle)
    uuid = session.read(unknown, "uuid", api.nvmlDeviceGetUUID, handle)
    info = session.read(
        unknown, "total_bytes", api.nvmlDeviceGetMemoryInfo, handle, api.nvmlMemory_v2
    )
    if info is None:
        unknown["free_bytes"] = unknown["reserved_bytes"] = unknown["total_bytes"]
    attributes = session.read(unknown, "n_multiprocessors", api.nvmlDeviceGetAttributes, handle)
    profile = _PROFILE.search(name or "")
    if profile is not None:
        label = profile.group(1)
    elif attributes is not None and parent.total_bytes:
        label = profile_name(
            card_bytes=parent.total_bytes,
            slice_bytes=attributes.memorySizeMB * MiB,
            gpu_slices=attributes.gpuInstanceSliceCount,
            compute_slices=attributes.computeInstanceSliceCount,
        )
    else:
        label = "slice"
        unknown["mig"] = "the driver names neither the slice nor its share"
    total = None if info is None else int(info.total)
    bandwidth, basis = _bandwidth(parent, total)
    if bandwidth is None:
        unknown.setdefault("memory_bandwidth_gb_s", "the slice's share of the card is not known")
    unknown["power_limit_w"] = "power is that of the whole card"
    if attributes is not None:
        unknown.pop("n_multiprocessors", None)
    return replace(
        parent,
        name=f"{parent.name}.{index}",
        description=name or f"{parent.description} MIG {label}",
        total_bytes=total,
        free_bytes=None if info is None else int(info.free),
        reserved_bytes=None if info is None else int(info.reserved),
        uuid=uuid,
        n_multiprocessors=None if attributes is None else int(attributes.multiprocessorCount),
        memory_bandwidth_gb_s=bandwidth,
        memory_bandwidth_basis=basis,
        power_limit_w=None,
        mig=label,
        unknown=unknown,
    )


def _bandwidth(parent: Device, slice_bytes: int | None) -> tuple[float | None, str | None]:
    """Return the slice's share of the card's bandwidth: memory channels are divided with memory."""
    if not slice_bytes or not parent.total_bytes or parent.memory_bandwidth_gb_s is None:
        return None, None
    eighths = min(8, -(-slice_bytes * 8 // parent.total_bytes))
    return parent.memory_bandwidth_gb_s * eighths / 8, "the slice's share of the card"
