"""Which blocks and devices of a placement are alike, so that few of them need to be built."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import NamedTuple

from localllm.core.graph.families import variant
from localllm.core.model import ModelSpec, TensorInfo
from localllm.core.traits import DeviceTraits


class Spot(NamedTuple):
    """A block's place: its backend, its routed experts', its cache's (the CPU's number is last)."""

    backend: int
    experts: int
    cache: int


class Kinds:
    """Numbers for blocks: equal where the graph of two blocks is equal."""

    def __init__(self, model: ModelSpec, tensors: dict[int, dict[str, TensorInfo]]) -> None:
        """``tensors``: of each block by their names within it."""
        self._by_shape: list[int] = []
        self._by_type: list[int] = []
        shapes: dict[Hashable, int] = {}
        types: dict[Hashable, int] = {}
        for layer, hparams in enumerate(model.layers):
            block = tensors.get(layer, {})
            look = (hparams, variant(model, layer), tuple((n, t.shape) for n, t in block.items()))
            whole = (look, tuple(t.type for t in block.values()))
            self._by_shape.append(shapes.setdefault(look, len(shapes)))
            self._by_type.append(types.setdefault(whole, len(types)))

    def of(self, layer: int, *, by_type: bool) -> int:
        """Return a block's kind; ``by_type``: tell the types of its weights apart too."""
        return self._by_type[layer] if by_type else self._by_shape[layer]


def without_twins(
    kept: list[int],
    keys: Sequence[tuple[int, Spot]],
    spots: Sequence[Spot],
    machine: Sequence[DeviceTraits],
) -> tuple[list[int], dict[int, int]]:
    """Leave out devices whose neighbour before holds the same: its buffer is theirs too.

    Neither the first device, nor one after it, nor the last with a block or the output is left out:
    what comes to them, or leaves them, differs. Returns the blocks that stay, and whose size a
    device has that was left out.
    """
    held: dict[int, list[int]] = {}
    for layer in kept:
        held.setdefault(spots[layer].backend, []).append(layer)
    used = sorted(device for device in held if device < len(machine))
    twins: dict[int, int] = {}
    for before, device in pairwise(used[1:-1]):
        same = [keys[i][0] for i in held[before]] == [keys[i][0] for i in held[device]]
        alone = all(spots[i] == Spot(on, on, on) for on in (before, device) for i in held[on])
        if same and alone and machine[before] == machine[device]:
            twins[device] = twins.get(before, before)
    gone = {layer for device in twins for layer in held[device]}
    return [layer for layer in kept if layer not in gone], twins


def tensors_by_layer(model: ModelSpec) -> dict[int, dict[str, TensorInfo]]:
    """Tensors of each block by their names within it; -1: input and output."""
    found: dict[int, dict[str, TensorInfo]] = {}
    for tensor in model.tensors:
        part, inside, rest = tensor.name.partition("blk.")
        number, _, name = rest.partition(".")
        if inside and number.isdigit():
            # T5 has two stacks of blocks, each name with its stack's in front.
            found.setdefault(int(number), {})[part + name] = tensor
        else:
            found.setdefault(-1, {})[tensor.name] = tensor
    return found
