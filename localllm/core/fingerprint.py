"""Keys by which own measurements are told apart: which machine, which place on it, which model.

Stable fields only: what is free at the moment, clocks, limits and names of files do not count. Two
runs with equal keys should err from the formula alike; that is all that a key promises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from localllm.core.hardware import Device, Hardware
from localllm.core.memory import Placement
from localllm.core.model import ModelSpec
from localllm.core.plan import Plan
from localllm.core.prediction import run_of_plan
from localllm.core.pricing import OVERLAP
from localllm.core.speed import FORMULA_VERSION
from localllm.core.speed_constants import CONSTANTS
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
    return _digest((host.cpu, host.os, host.machine, memory))


def formula_key(constants: Mapping[str, float] = CONSTANTS) -> str:
    """Return 12 hex digits that stand for the speed formula: what it predicted before it was fitted
    anew says nothing of how far it is off now.
    """
    formulas = [f"version {FORMULA_VERSION}", f"overlap {OVERLAP}"]
    return _digest([*formulas, *(f"{name}={value!r}" for name, value in sorted(constants.items()))])


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
    if not used:
        kind = "cpu"
    elif placement.n_gpu_layers < model.n_layer_total:
        kind = "mixed"
    else:
        kind = "experts" if placement.host_expert_layers else "gpu"
    if model.file_bytes < IN_CACHE_BYTES:
        kind += ", in cache"
    return ": ".join(part for part in (kind, " + ".join(map(_device_kind, used))) if part)


def plan_placement_key(plan: Plan) -> str:
    """Return ``placement_key`` of a finished plan."""
    run = run_of_plan(plan)
    return placement_key(plan.model, run.devices, run.placement)


def _device_kind(device: Device) -> str:
    mig = f" MIG {device.mig}" if device.mig not in (None, "enabled") else ""
    return printable(f"{device.backend} {device.description}{mig}")


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "replace")).hexdigest()[:12]
