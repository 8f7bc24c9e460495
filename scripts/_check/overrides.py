"""Experts and other tensors that a command kept in RAM: ``-ot``, ``-cmoe``, ``-ncmoe``.

Where the command is in the log, its patterns are applied tensor by tensor, first match first, as
llama.cpp does. Where it is not, a mixture of experts whose GPUs hold far too little still tells:
what is missing on each device must be the experts of a whole number of layers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from _check.logs import LoggedRun
from localllm.core.hardware import Device
from localllm.core.memory import Placement
from localllm.core.model import ModelSpec, TensorInfo
from localllm.core.ownership import EXPERT_PATTERN, is_expert, owner
from localllm.core.traits import device_traits
from localllm.core.weights import HOST_ALIGNMENT_BYTES, device_tensor_bytes
from localllm.units import MiB

_ARGUMENT = re.compile(
    r"(?:^|\s)(?:-ot|--override-tensors?)[ =](\"[^\"]*\"|'[^']*'|[^\s]+)", re.IGNORECASE
)
_CLOSE = 0.003


@dataclass(frozen=True, slots=True)
class Override:
    """One pattern and the buffer its tensors go to."""

    pattern: re.Pattern[str]
    target: str


def overrides_of(run: LoggedRun, model: ModelSpec) -> list[Override]:
    """Return what a command overrides, in its order; nothing for patterns that are none."""
    found: list[Override] = []
    for argument in _ARGUMENT.findall(run.command):
        for part in argument.strip("\"'").split(","):
            pattern, _, target = part.rpartition("=")
            try:
                found.append(Override(re.compile(pattern), target.strip()))
            except re.error:
                return []
    words = run.command.split()
    if "-cmoe" in words or "--cpu-moe" in words:
        found.append(Override(re.compile(EXPERT_PATTERN), "CPU"))
    if run.n_cpu_moe:
        layers = "|".join(str(i) for i in range(min(run.n_cpu_moe, model.n_layer)))
        found.append(Override(re.compile(rf"blk\.({layers})\.{EXPERT_PATTERN}"), "CPU"))
    return found


def host_expert_layers(model: ModelSpec, overrides: Sequence[Override]) -> frozenset[int]:
    """Layers whose experts the overrides keep in RAM."""
    return frozenset(
        tensor.layer
        for tensor in model.tensors
        if tensor.layer is not None
        and is_expert(tensor)
        and _target(tensor, overrides) in ("CPU", "CUDA_Host")
    )


def placed_weights(
    model: ModelSpec, placement: Placement, devices: Sequence[Device], overrides: Sequence[Override]
) -> tuple[list[int], int]:
    """Return the bytes of every device and of the host, tensor by tensor."""
    on_device = [0] * len(devices)
    on_host = 0
    names = {device.name: i for i, device in enumerate(devices)}
    for tensor in model.tensors:
        index = _by_layer(tensor, model, placement)
        target = _target(tensor, overrides)
        if target is not None and owner(model, tensor).kind != "input":
            index = names.get(target)
        if index is None:
            on_host += device_tensor_bytes(
                tensor, alignment_bytes=HOST_ALIGNMENT_BYTES, row_padding=1
            )
        else:
            traits = device_traits(devices[index])
            on_device[index] += device_tensor_bytes(
                tensor, alignment_bytes=traits.alignment_bytes, row_padding=traits.row_padding
            )
    return on_device, on_host


def inferred_experts(
    run: LoggedRun, model: ModelSpec, placement: Placement, predicted: Sequence[int]
) -> frozenset[int] | None:
    """Return the layers whose experts must be in RAM for the weights to be the log's.

    ``predicted`` are the devices' bytes without overrides. None where no whole number of layers
    explains every device.
    """
    experts = [0] * model.n_layer
    for tensor in model.tensors:
        if tensor.layer is not None and is_expert(tensor):
            experts[tensor.layer] += tensor.n_bytes
    chosen: set[int] = set()
    first = model.n_layer_total - placement.n_gpu_layers
    for logged, count, n_bytes in zip(
        run.devices, placement.layers_per_device, predicted, strict=True
    ):
        here = [i for i in range(first, first + count) if i < model.n_layer and experts[i]]
        first += count
        if logged.weights is None:
            return None
        missing = n_bytes / MiB - logged.weights
        taken = 0.0
        for layer in here:
            if missing - taken < experts[layer] / MiB / 2:
                break
            taken += experts[layer] / MiB
            chosen.add(layer)
        if abs(missing - taken) > max(_CLOSE * logged.weights, 4.0):
            return None
    return frozenset(chosen) or None


def _target(tensor: TensorInfo, overrides: Sequence[Override]) -> str | None:
    return next((each.target for each in overrides if each.pattern.search(tensor.name)), None)


def _by_layer(tensor: TensorInfo, model: ModelSpec, placement: Placement) -> int | None:
    """Return the device that the layer rule gives a tensor; None: the host."""
    kind, layer = owner(model, tensor)
    if kind == "input":
        return None
    layer = model.n_layer if kind in ("output", "rotary") else layer
    first = model.n_layer_total - placement.n_gpu_layers
    for index, count in enumerate(placement.layers_per_device):
        if first <= layer < first + count:
            return index
        first += count
    return None
