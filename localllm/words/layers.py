"""Layers in words: how many lie where, and what one of them is and takes."""

from __future__ import annotations

from collections.abc import Sequence

from localllm.core.plan import Plan
from localllm.core.where import LayerPlace, LayerSize, experts_apart, layers_on
from localllm.units import format_bytes
from localllm.words.memory import at_place


def held(plan: Plan, places: Sequence[LayerPlace]) -> dict[str, str]:
    """Return what each row of the plan holds, by name: ``10 layers, experts of 30 layers``.

    Rows that hold nothing are left out; the embedding counts as no layer.
    """
    counts, apart = layers_on(places), experts_apart(places)
    found: dict[str, str] = {}
    for row in plan.devices:
        parts = [_layers(counts[row.name])] if counts[row.name] else []
        if apart[row.name]:
            parts.append(f"experts of {_layers(apart[row.name])}")
        if any(place.kind == "input" and place.device == row.name for place in places):
            parts.append("embedding")
        if parts:
            found[row.name] = ", ".join(parts)
    return found


def layer_line(plan: Plan, place: LayerPlace, size: LayerSize) -> str:
    """Return one layer as a line: where it lies, and the bytes of its parts."""
    where = at_place(place.device)
    weights = format_bytes(size.weight_bytes)
    if place.kind == "input":
        return f"embedding {where}: {weights}, looked up there"
    if place.kind == "output":
        return f"output layer {where}: weights {weights}"
    parts = [f"weights {weights}"]
    if place.experts == place.device:
        parts.append(f"experts {format_bytes(size.expert_bytes)}")
    if size.context_bytes:
        parts.append(f"context {format_bytes(size.context_bytes)}")
    if place.experts is not None and place.is_split:
        there = at_place(place.experts)
        parts.append(f"experts {there} {format_bytes(size.expert_bytes)}")
    if size.left_in_ram_bytes:
        parts.append(f"left in RAM {format_bytes(size.left_in_ram_bytes)}")
    name = f"layer {place.index}"
    if place.index >= plan.model.n_layer_main:
        name += " (MTP, not run)"
    return f"{name} {where}: {', '.join(parts)}"


def _layers(n: int) -> str:
    return f"{n} layer" if n == 1 else f"{n} layers"
