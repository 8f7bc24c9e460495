"""Compute buffers: the peak of a batch's intermediate results on every device and on the host.

Found as llama.cpp finds it (``core/graph``), not by closed formulas: one function here for what a
placement means to that graph, one memory of answers. Equal blocks side by side are built a few
times only, and a question that was asked before costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

from localllm.core.cache import uses_flash_attn
from localllm.core.graph.builder import Home
from localllm.core.graph.families import is_proven, variant
from localllm.core.graph.repeats import thinned
from localllm.core.graph.reserve import batch_graph
from localllm.core.graph.scheduler import Scheduler
from localllm.core.graph.tensors import Graph
from localllm.core.hardware import Host
from localllm.core.memory import Placement, RunShape
from localllm.core.model import ModelSpec, TensorInfo
from localllm.core.traits import DeviceTraits
from localllm.core.weights import repacks

Machine = tuple[DeviceTraits, ...]


class _Spot(NamedTuple):
    """A block's place: its backend, its routed experts', its cache's (the CPU's number is last)."""

    backend: int
    experts: int
    cache: int


def pipelined(model: ModelSpec, placement: Placement, machine: Sequence[DeviceTraits]) -> bool:
    """Whether llama.cpp works on several batches at once, which needs inputs in four copies.

    Several devices, every layer on them, no tensor overrides, and every device asynchronous with
    events (``src/llama-context.cpp:430-457``).
    """
    return (
        len(machine) > 1
        and placement.n_gpu_layers >= model.n_layer_total
        and not placement.host_expert_layers
        and all(traits.pipelines for traits in machine)
    )


class ComputeModel:
    """The compute buffers of one model beside one host, ready to be asked about many placements."""

    def __init__(self, model: ModelSpec, host: Host) -> None:
        """Sort the tensors by block and find out which blocks are alike."""
        self._model = model
        self._host = host
        self._tensors = _by_layer(model)
        self._kinds = _Kinds(model, self._tensors)
        self._known: dict[Hashable, tuple[int, ...]] = {}
        self.proven = is_proven(model)
        """Whether this family's graph was held against llama.cpp's; else it is an upper bound."""

    def buffers(self, placement: Placement, shape: RunShape, machine: Machine) -> tuple[int, ...]:
        """Bytes of each device's compute buffer, in the machine's order, and of the host's last."""
        model = self._model
        shape = replace(shape, flash_attn=uses_flash_attn(model, shape))
        spots = self._spots(placement, len(machine))
        streams = any(traits.streams_weights for traits in machine)
        keys = tuple(
            (self._kinds.of(layer, by_type=streams and spot.experts == len(machine)), spot)
            for layer, spot in enumerate(spots[: model.n_layer_main])
        )
        several = pipelined(model, placement, machine)
        whole = bool(machine) and placement.n_gpu_layers >= model.n_layer_total
        kept = thinned(keys)
        alike = keys if several else tuple(keys[i] for i in kept)
        question = (alike, spots[-1], shape, machine, several, whole)
        if question not in self._known:
            self._known[question] = self._reserve(kept, spots, shape, machine, several, whole)
        return self._known[question]

    def _reserve(
        self,
        kept: Sequence[int],
        spots: Sequence[_Spot],
        shape: RunShape,
        machine: Machine,
        several: bool,
        whole: bool,
    ) -> tuple[int, ...]:
        n_blocks = self._model.n_layer_main
        scheduler = Scheduler(machine, pipelined=several)
        sizes = scheduler.buffer_bytes(self._graph(kept, spots, shape, machine, whole))
        if several and scheduler.n_splits > len(machine) + 1 and len(kept) < n_blocks:
            # The CPU computes a part of each block: every block's copies stay, so build them all.
            graph = self._graph(range(n_blocks), spots, shape, machine, whole)
            return Scheduler(machine, pipelined=True).buffer_bytes(graph)
        return sizes

    def _graph(
        self,
        kept: Sequence[int],
        spots: Sequence[_Spot],
        shape: RunShape,
        machine: Machine,
        whole: bool,
    ) -> Graph:
        streamable = self._streamable(shape, machine)
        homes = [Home(*spot, streamable) for spot in spots]
        return batch_graph(
            self._model,
            shape,
            self._tensors,
            [(i, homes[i]) for i in kept],
            homes[-1],
            len(machine),
            all_offloaded=whole,
        )

    def _spots(self, placement: Placement, host: int) -> list[_Spot]:
        """Place every layer, the output layer last."""
        n_total = self._model.n_layer_total
        n_on_host = n_total - placement.n_gpu_layers if host else n_total
        backends = [host] * n_on_host
        for device, count in enumerate(placement.layers_per_device):
            backends += [device] * count
        return [
            _Spot(
                backend,
                host if layer in placement.host_expert_layers else backend,
                backends[self._cache_owner(layer)],
            )
            for layer, backend in enumerate(backends[:n_total])
        ]

    def _cache_owner(self, layer: int) -> int:
        """Return the block whose cache a block reads: the last one of its kind that has any."""
        layers = self._model.layers
        if layer >= len(layers) or layers[layer].has_kv or layers[layer].is_recurrent:
            return layer
        same = (i for i in range(layer) if layers[i].has_kv)
        return max((i for i in same if layers[i].is_swa == layers[layer].is_swa), default=layer)

    def _streamable(self, shape: RunShape, machine: Machine) -> Callable[[TensorInfo], bool]:
        """Return which host weights a device may copy: those not rearranged for the CPU.

        The pinned memory of a device comes before rearranging, and is always plain.
        """
        if not shape.repack or any(traits.host_buffer for traits in machine):
            return _always
        return lambda tensor: not repacks(tensor, self._host)


class _Kinds:
    """Numbers for blocks: equal where the graph of two blocks is equal."""

    def __init__(self, model: ModelSpec, tensors: dict[int, dict[str, TensorInfo]]) -> None:
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


def _by_layer(model: ModelSpec) -> dict[int, dict[str, TensorInfo]]:
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


def _always(_tensor: TensorInfo) -> bool:
    return True
