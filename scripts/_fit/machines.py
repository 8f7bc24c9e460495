"""The machine of a public row: its GPUs by profile, the backend, the slot, and the host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from _fit.hosts import host_in_passing, read_host
from _fit.names import gpu_names
from _fit.texts import number, text, whole

_BACKENDS = (
    ("vulkan", r"vulkan"),
    ("rocm", r"rocm|\bhip"),
    ("metal", r"metal"),
    ("cuda", r"cuda"),
    ("other", r"sycl|opencl|cann|musa"),
    ("cpu", r"\bcpu\b"),
)
_HOST_BY_CARD = ("localmaxxing",)
"""Collections that give all rows of one card the same processor, whoever ran them."""


def read_machine(row: Mapping[str, Any]) -> dict[str, Any] | str:
    """Return ``gpus``, ``backend``, ``pcie`` and ``host`` of a row, or why they are not known."""
    backend = _backend(row)
    gpu = text(row, "gpu") or text(row, "device_line")
    on_cpu = row.get("kind") == "cpu_only" or row.get("n_gpus") == 0
    if backend == "cpu" and not on_cpu and gpu:
        return "names a GPU and the CPU backend"
    told = text(row, "cpu", "ram") or text(row, "host") or text(row, "hardware_hint")
    record: dict[str, Any] = {}
    if on_cpu:
        record["backend"] = "cpu"
        told = told or text(row, "system")
    elif not gpu:
        return "names no GPU"
    else:
        names = _gpus(row, gpu)
        if isinstance(names, str):
            return names
        record["gpus"] = names
        if backend:
            record["backend"] = backend
        slot = re.search(r"pcie (\d)(?:\.0)? x(\d+)", f"{gpu} {told}", re.IGNORECASE)
        if slot is not None:
            record["pcie"] = [int(slot[1]), int(slot[2])]
    by_card = text(row, "source_id").startswith(_HOST_BY_CARD)
    host = read_host(told) if told and not by_card else None
    if host is None and not by_card:
        host = host_in_passing(text(row, "source"))
    if host is not None:
        record["host"] = host
    elif on_cpu:
        return f"no figures of the processor: {told or 'not told'}"
    return record


def power_cap_w(row: Mapping[str, Any]) -> float | None:
    """Return the limit of power that a row's cards ran under, where it tells one."""
    told = re.search(r"(\d{2,4}) ?w (?:power )?limit", text(row, "gpu"), re.IGNORECASE)
    return number(row.get("power_cap_w")) or (float(told[1]) if told else None)


def driver(row: Mapping[str, Any]) -> str | None:
    """Return the driver or runtime under the backend, where a row tells: ``vulkan_radv``."""
    return text(row, "toolbox").partition("__")[0] or None


def _backend(row: Mapping[str, Any]) -> str | None:
    told = text(row, "toolbox", "backend")
    found = (name for name, word in _BACKENDS if re.search(word, told, re.IGNORECASE))
    return next(found, None)


def _gpus(row: Mapping[str, Any], gpu: str) -> list[str] | str:
    if re.match(r"\s*(same|\?|small|unknown)", gpu, re.IGNORECASE):
        return f"the GPU is not told: {gpu}"
    used = re.search(r"\((\d+) used\)", gpu)
    n_gpus = int(used[1]) if used else whole(row.get("n_gpus"))
    if re.search(r"\brig\b", gpu):
        author = re.search(r"rig.*?((?:rtx|gtx) \d{4}(?: ti| super)*)", gpu, re.IGNORECASE)
        if author is None:
            return f"the GPU is not told: {gpu}"
        gpu = author[1]
    # people put quantisation, context and split behind the card's name
    gpu = re.sub(r"\s+I?Q\d\w*( \d+K)?$|\s+layer split$|\s+-sm layer$", "", gpu)
    return gpu_names(gpu, n_gpus, number(row.get("vram_gib")))
