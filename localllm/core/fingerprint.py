"""Keys by which own measurements are told apart: which machine, which place on it, which model.

Stable fields only: what is free at the moment, clocks, limits and names of files do not count. Two
runs with equal keys should err from the formula alike; that is all that a key promises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from localllm.core.hardware import Device, Hardware
from localllm.core.memory import Placement
from localllm.core.model import ModelSpec
from localllm.core.plan import Plan
from localllm.core.text import printable
from localllm.units import GiB, MiB

IN_CACHE_BYTES = 64 * MiB
"""Weights under this lie in the caches of a CPU or a GPU, and tell nothing of its memory's speed;
what such a model takes is mostly the starting of its kernels."""


def machine_key(hardware: Hardware) -> str:
    """Return 12 hex digits that stand for a host: processor, system, installed memory.

    Devices are left to ``placement_key``: a card that is added, hidden by a variable, or unknown
    to another build of llama.cpp does not make what was measured without it untrue.
    """
    host = hardware.host
    # Kernels keep a little for themselves, never the same amount; a cgroup's limit comes and goes.
    memory = "" if host.memory_limit is not None else f"{-(-host.total_bytes // GiB)} GiB"
    text = "\n".join((host.cpu, host.os, host.machine, memory))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def model_key(model: ModelSpec) -> str:
    """Return what makes two models equally fast: the shape and the quantisation, not the name.

    A fine-tune is as fast as what it was made from, and a recorded shape as the file it stands for.
    """
    experts = f"-{model.n_expert}x{model.n_expert_used}" if model.n_expert else ""
    shape = f"{model.n_layer}x{model.n_embd}{experts}-{model.n_params / 1e6:.0f}M"
    return printable(f"{model.arch}-{shape}-{model.quant}")


def placement_key(model: ModelSpec, devices: Sequence[Device], placement: Placement) -> str:
    """Return where the weights lie, and of which kind the devices are: ``gpu: cuda RTX 4090``.

    ``devices``: those of ``placement.layers_per_device``, in its order. ``gpu`` is everything on
    GPUs, ``experts`` everything but experts in RAM, ``mixed`` whole layers in RAM, ``cpu`` no GPU.
    """
    used = [
        device
        for device, n_layers in zip(devices, placement.layers_per_device, strict=True)
        if n_layers
    ]
    return _placement_key(
        model,
        used,
        n_gpu_layers=placement.n_gpu_layers,
        host_experts=bool(placement.host_expert_layers),
    )


def plan_placement_key(plan: Plan) -> str:
    """Return ``placement_key`` of a finished plan."""
    by_name = {device.name: device for device in plan.hardware.devices}
    used = [by_name[row.name] for row in plan.devices if row.kind == "gpu" and row.n_layers]
    return _placement_key(
        plan.model,
        used,
        n_gpu_layers=plan.n_gpu_layers,
        host_experts=bool(plan.tensor_overrides),
    )


def _placement_key(
    model: ModelSpec, used: Sequence[Device], *, n_gpu_layers: int, host_experts: bool
) -> str:
    if not used:
        kind = "cpu"
    elif n_gpu_layers < model.n_layer_total:
        kind = "mixed"
    else:
        kind = "experts" if host_experts else "gpu"
    if model.file_bytes < IN_CACHE_BYTES:
        kind += ", in cache"
    return ": ".join(part for part in (kind, " + ".join(map(_device_kind, used))) if part)


def _device_kind(device: Device) -> str:
    mig = f" MIG {device.mig}" if device.mig not in (None, "enabled") else ""
    return printable(f"{device.backend} {device.description}{mig}")
