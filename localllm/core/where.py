"""Where every layer of a plan lies, and what it takes there: the placement, layer by layer.

``Placement`` says how many of the last layers each device holds, in order; ``breakdown.py`` sums
them. This file names them one by one, by the same tables, so that the parts of a device add up to
its row of the plan.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Literal

from localllm.core.cache import kv_layer_bytes
from localllm.core.ownership import is_expert
from localllm.core.plan import Plan
from localllm.core.prediction import run_of_plan
from localllm.core.traits import DeviceTraits, device_traits
from localllm.core.weights import HOST_ALIGNMENT_BYTES, WeightTable, weight_table

LayerKind = Literal["input", "block", "output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPlace:
    """One layer, and the rows of the plan (``Plan.devices``, by name) that it lies on."""

    kind: LayerKind
    """``input``: the embedding, which is looked up in RAM and not counted among the layers."""
    index: int
    """Of a block from 0; the output layer follows the last one; -1 for the input."""
    device: str
    experts: str | None = None
    """Where its routed experts lie; None for a layer without any."""

    @property
    def is_split(self) -> bool:
        """Whether its experts lie elsewhere than the rest of it."""
        return self.experts not in (None, self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSize:
    """Bytes of one layer, each part where ``LayerPlace`` says; compute buffers belong to nobody."""

    weight_bytes: int
    """On ``device``, without routed experts."""
    expert_bytes: int
    """Routed experts, on ``experts``."""
    context_bytes: int
    """Cache and recurrent state, on ``device``."""
    left_in_ram_bytes: int
    """Weights that stay in RAM because ``device`` cannot use them."""


def layer_places(plan: Plan) -> tuple[LayerPlace, ...]:
    """Return the input, every block, and the output layer, in the order a token passes them."""
    run, model, host = run_of_plan(plan), plan.model, plan.host.name
    placement = run.placement
    counts = placement.layers_per_device
    on_gpus = chain.from_iterable(
        repeat(device.name, count) for device, count in zip(run.devices, counts, strict=True)
    )
    holders = [*repeat(host, model.n_layer_total - sum(counts)), *on_gpus]
    mixtures = {tensor.layer for tensor in model.tensors if is_expert(tensor)}

    def experts(layer: int) -> str | None:
        if layer not in mixtures:
            return None
        return host if layer in placement.host_expert_layers else holders[layer]

    blocks = (
        LayerPlace(kind="block", index=i, device=holders[i], experts=experts(i))
        for i in range(model.n_layer)
    )
    return (
        LayerPlace(kind="input", index=-1, device=host),
        *blocks,
        LayerPlace(kind="output", index=model.n_layer, device=holders[-1]),
    )


def layer_sizes(plan: Plan, places: Sequence[LayerPlace]) -> tuple[LayerSize, ...]:
    """Return what each of a plan's layers takes, by the formulas, in the order of ``places``.

    Rotary factors, one copy in each buffer with a block that rotates, belong to no single layer.
    """
    return tuple(_sizes(plan, places))


def layers_on(places: Sequence[LayerPlace]) -> Counter[str]:
    """Count the layers of each row, the output layer as one, as ``DeviceMemory.n_layers`` does."""
    return Counter(place.device for place in places if place.kind != "input")


def experts_apart(places: Sequence[LayerPlace]) -> Counter[str]:
    """Count, by the row that they lie on, the layers whose experts lie apart from them."""
    return Counter(place.experts for place in places if place.experts and place.is_split)


def _sizes(plan: Plan, places: Sequence[LayerPlace]) -> Iterator[LayerSize]:
    run, model = run_of_plan(plan), plan.model
    traits = {device.name: device_traits(device) for device in run.devices}
    traits[plan.host.name] = DeviceTraits(alignment_bytes=HOST_ALIGNMENT_BYTES)
    # Pinned memory of a device comes first, and what lies there is not rearranged.
    repack = plan.repack and not any(device_traits(device).host_buffer for device in run.devices)

    @functools.cache
    def table(buffer: DeviceTraits) -> WeightTable:
        return weight_table(
            model,
            alignment_bytes=buffer.alignment_bytes,
            row_padding=buffer.row_padding,
            rules=buffer.rules,
        )

    for place in places:
        on = traits[place.device]
        here = table(on)
        if place.kind == "input":
            yield _weights_only(here.input_bytes)
        elif place.kind == "output":
            shared = place.device == plan.host.name and here.shares_tied and here.tied_bytes
            if shared and repack and weight_table(model, host=run.host).repacked_tied_bytes:
                shared = 0  # rearranged, it is a copy
            yield _weights_only(here.output_bytes - shared)
        else:
            layer = here.layers[place.index]
            apart = here if place.experts is None else table(traits[place.experts])
            yield LayerSize(
                weight_bytes=layer.dense_bytes,
                expert_bytes=apart.layers[place.index].expert_bytes,
                context_bytes=kv_layer_bytes(
                    model,
                    place.index,
                    run.shape,
                    alignment_bytes=on.alignment_bytes,
                    row_padding=on.row_padding,
                ),
                left_in_ram_bytes=layer.left_in_ram_bytes,
            )


def _weights_only(n_bytes: int) -> LayerSize:
    return LayerSize(weight_bytes=n_bytes, expert_bytes=0, context_bytes=0, left_in_ram_bytes=0)
