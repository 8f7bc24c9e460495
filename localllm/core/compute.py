"""Compute buffers: the peak of a batch's intermediate results on every device and on the host.

Found as llama.cpp finds it (``core/graph``), not by closed formulas: one function here for what a
placement means to that graph, one memory of answers. Equal blocks side by side are built a few
times only, and a question that was asked before costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

from localllm.core.alike import Kinds, Spot, tensors_by_layer, without_twins
from localllm.core.cache import uses_flash_attn
from localllm.core.ggml import TYPES_BY_NAME
from localllm.core.graph.backends import computes
from localllm.core.graph.builder import Home
from localllm.core.graph.families import is_proven
from localllm.core.graph.repeats import thinned
from localllm.core.graph.reserve import attention_probe, batch_graph
from localllm.core.graph.scheduler import Scheduler
from localllm.core.graph.tensors import Graph, Tensor
from localllm.core.hardware import Host
from localllm.core.memory import Placement, RunShape
from localllm.core.model import ModelSpec, TensorInfo
from localllm.core.ownership import stays_in_ram
from localllm.core.traits import DeviceTraits, Rules
from localllm.core.weights import repacks

Machine = tuple[DeviceTraits, ...]

_FEW_DEVICES = 2
"""Up to these every placement has its own graph; over more, an odd layer makes no difference."""


class _Context(NamedTuple):
    """What is run on a placement: the context's shape, ``flash_attn`` as llama.cpp settles it."""

    shape: RunShape
    machine: Machine
    transposed_v: bool
    """The cache was made for attention without flash attention."""

    @property
    def copies_cache(self) -> bool:
        """Whether attention reads a converted or turned copy of the cache, however short a batch
        is."""
        shape = self.shape
        turns_v = not shape.flash_attn and not self.transposed_v
        return turns_v or (shape.flash_attn and "f32" in (shape.type_k, shape.type_v))


class _Layout(NamedTuple):
    """What a placement means to the graph, whatever the context."""

    spots: list[Spot]
    kept: list[int]
    """Blocks that are built."""
    twins: dict[int, int]
    """Devices that were left out, and the ones whose size they have."""
    pipelined: bool
    whole: bool
    """Every layer is on a device."""
    alike: Hashable
    """Equal for placements with the same graph."""


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
        self._tensors = tensors_by_layer(model)
        self._kinds = Kinds(model, self._tensors)
        self._layouts: dict[tuple[Placement, Machine], _Layout] = {}
        self._known: dict[Hashable, tuple[int, ...]] = {}
        self._left: dict[Rules, frozenset[str]] = {}
        self._strays: dict[Hashable, bool] = {}
        self._probes: dict[Hashable, tuple[Tensor, ...]] = {}
        self.proven = is_proven(model)
        """Whether this family's graph was held against llama.cpp's; else it is an upper bound."""

    def buffers(self, placement: Placement, shape: RunShape, machine: Machine) -> tuple[int, ...]:
        """Bytes of each device's compute buffer, in the machine's order, and of the host's last."""
        shape = replace(shape, flash_attn=uses_flash_attn(self._model, shape))
        where = (placement, machine)
        layout = self._layouts.get(where)
        if layout is None:
            layout = self._layouts[where] = self._layout(placement, machine)
        transposed_v = not shape.flash_attn
        context = _Context(shape, machine, transposed_v)
        if shape.flash_attn and self._switches_off(layout, context):
            context = context._replace(shape=replace(shape, flash_attn=False))
        question = (layout.alike, context)
        sizes = self._known.get(question)
        if sizes is None:
            sizes = self._known[question] = self._reserve(layout, context)
        return tuple(sizes[layout.twins.get(i, i)] for i in range(len(sizes)))

    def _layout(self, placement: Placement, machine: Machine) -> _Layout:
        """Work out which blocks must be built for a placement, and where they lie."""
        model = self._model
        spots = self._spots(placement, len(machine))
        streams = any(traits.streams_weights for traits in machine)
        keys = tuple(
            (self._kinds.of(layer, by_type=streams and spot.experts == len(machine)), spot)
            for layer, spot in enumerate(spots[: model.n_layer_main])
        )
        several = pipelined(model, placement, machine)
        whole = bool(machine) and placement.n_gpu_layers >= model.n_layer_total
        kept = thinned(keys, by_turns=len(machine) <= _FEW_DEVICES)
        kept, twins = without_twins(kept, keys, spots, machine)
        # Where the CPU computes a part of each block, pipelines hold copies for every one of them.
        alike = keys if several else tuple(keys[i] for i in kept)
        return _Layout(spots, kept, twins, several, whole, (alike, spots[-1], several, whole))

    def _switches_off(self, layout: _Layout, context: _Context) -> bool:
        """Whether llama.cpp gives up flash attention: some block's device has no kernel for it.

        ``resolve_fused_ops`` (``src/llama-context.cpp:505``) builds the graph of one token and
        looks where each fused attention went. The cache was made before and stays as it is. A
        quantised V cannot do without (``:3840``): then the CPU computes what the device does not.
        """
        shape, machine, layers = context.shape, context.machine, self._model.layers
        if TYPES_BY_NAME[shape.type_v].quantised or not machine:
            return False
        if any(
            spot.backend < len(machine) and not self._attends(layer, shape, machine[spot.backend])
            for layer, spot in enumerate(layout.spots[: self._model.n_layer_main])
        ):
            return True
        # Writes to a cache hold attention where the cache is. One that reads another block's cache,
        # or is followed by the states of the next block, may go where its neighbours are.
        if layout.whole and len(machine) == 1:
            return False
        if all(layer.has_kv and not layer.is_recurrent for layer in layers):
            return False
        asked = (layout.alike, shape.type_k, shape.type_v, shape.n_seq, machine)
        if asked not in self._strays:
            graph = self._graph(layout.kept, layout, context, few_tokens=True)
            scheduler = Scheduler(machine, pipelined=layout.pipelined)
            self._strays[asked] = not scheduler.keeps_attention(graph)
        return self._strays[asked]

    def _attends(self, layer: int, shape: RunShape, traits: DeviceTraits) -> bool:
        """Whether a kind of device computes a block's fused attention, if it has any."""
        kind = self._kinds.of(layer, by_type=False)
        where = (kind, shape.type_k, shape.type_v, shape.n_seq)
        if where not in self._probes:
            self._probes[where] = attention_probe(self._model, shape, self._tensors, layer)
        return all(computes(traits, node) for node in self._probes[where])

    def _reserve(self, layout: _Layout, context: _Context) -> tuple[int, ...]:
        # A split that is being filled does not place every block yet.
        n_blocks = min(self._model.n_layer_main, len(layout.spots))
        machine = context.machine
        scheduler = Scheduler(machine, pipelined=layout.pipelined)
        sizes = scheduler.buffer_bytes(self._graph(layout.kept, layout, context))
        cut = scheduler.n_splits > len(machine) + 1
        if layout.pipelined and cut and len(layout.kept) < n_blocks:
            graph = self._graph(range(n_blocks), layout, context)
            return Scheduler(machine, pipelined=True).buffer_bytes(graph)
        turns_rows = self._model.is_mla and not context.shape.flash_attn
        if (context.copies_cache or turns_rows) and not layout.whole and machine:
            # Blocks of the CPU whose prompts a device computes: their answers are its own work.
            graph = self._graph(layout.kept, layout, context, few_tokens=True)
            least = Scheduler(machine, pipelined=False).buffer_bytes(graph)
            return tuple(map(max, sizes, least))
        return sizes

    def _graph(
        self,
        kept: Sequence[int],
        layout: _Layout,
        context: _Context,
        *,
        few_tokens: bool = False,
    ) -> Graph:
        machine = context.machine
        streamable = self._streamable(context.shape, machine)
        left = [self._left_in_ram(traits.rules) for traits in machine] + [frozenset()]
        homes = [
            Home(*spot, streamable, host=len(machine), left=left[spot.backend])
            for spot in layout.spots
        ]
        return batch_graph(
            self._model,
            context.shape,
            self._tensors,
            [(i, homes[i]) for i in kept],
            homes[-1],
            len(machine),
            all_offloaded=layout.whole,
            transposed_v=context.transposed_v,
            few_tokens=few_tokens,
        )

    def _left_in_ram(self, rules: Rules) -> frozenset[str]:
        """Names of the tensors that a kind of device leaves in RAM wherever their block lies."""
        if rules not in self._left:
            model = self._model
            self._left[rules] = frozenset(
                tensor.name for tensor in model.tensors if stays_in_ram(model, tensor, rules)
            )
        return self._left[rules]

    def _spots(self, placement: Placement, host: int) -> list[Spot]:
        """Place every layer, the output layer last."""
        n_total = self._model.n_layer_total
        n_on_host = n_total - placement.n_gpu_layers if host else n_total
        backends = [host] * n_on_host
        for device, count in enumerate(placement.layers_per_device):
            backends += [device] * count
        return [
            Spot(
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


def _always(_tensor: TensorInfo) -> bool:
    return True
