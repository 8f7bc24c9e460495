"""Which backend computes each node, and what must be copied between them.

``ggml_backend_sched_split_graph`` (``ggml/src/ggml-backend.cpp``): operations follow their weights,
the rest follows its neighbours, devices before the CPU. Where the backend changes a split begins,
and what it reads of other backends is copied into its buffer at its start; with ``op_offload`` this
includes the host's weights. With pipeline parallelism inputs and copies exist four times and are
never freed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localllm.core.graph.allocator import AnyArena, Arena, CutArena, allocate
from localllm.core.graph.backends import DeviceSize, computes, streams
from localllm.core.graph.tensors import VIEWS, Graph, Tensor
from localllm.core.traits import DeviceTraits
from localllm.core.weights import HOST_ALIGNMENT_BYTES

N_COPIES = 4
"""``GGML_SCHED_MAX_COPIES``."""

_FOLLOWS_NO_WEIGHT = frozenset({"rope", "flash_attn_ext"})
"""Their weights (rotary factors, sinks) are too small to decide where they run."""


@dataclass(slots=True)
class _Split:
    backend: int
    start: int
    end: int
    inputs: list[Tensor]


class Scheduler:
    """Devices in llama.cpp's order, the CPU after them."""

    def __init__(self, devices: Sequence[DeviceTraits], *, pipelined: bool) -> None:
        """``pipelined``: work on several batches at once, with four copies of every input."""
        self._devices = devices
        self._cpu = len(devices)
        self._n_copies = N_COPIES if pipelined else 1
        self._copies: dict[tuple[int, int], list[Tensor]] = {}
        self.n_splits = 0
        """Pieces that the graph was cut into."""

    def buffer_bytes(self, graph: Graph) -> tuple[int, ...]:
        """Size of each device's compute buffer, and of the host's last. Uses the graph up."""
        self._assign(graph)
        splits = self._split(graph.nodes)
        self.n_splits = len(splits)
        nodes, leafs = self._in_order(graph, splits)
        arenas = [_arena(traits) for traits in self._devices]
        arenas.append(Arena(HOST_ALIGNMENT_BYTES, _host_size))
        allocate(leafs, nodes, arenas)
        return tuple(arena.size for arena in arenas)

    def keeps_attention(self, graph: Graph) -> bool:
        """Whether every fused attention is computed where its block lies. Uses the graph up."""
        self._assign(graph)
        return all(node.backend == backend for backend, node in graph.attentions)

    # ------------------------------------------------------------------ passes 1 to 4

    def _assign(self, graph: Graph) -> None:
        for leaf in graph.leafs:
            leaf.backend = self._cpu if leaf.is_input else leaf.place
        for node in graph.nodes:
            node.backend = self._from_memory(node) if node.pinned is None else node.pinned
        working = [node for node in graph.nodes if node.op not in VIEWS]
        self._spread(working, skip=self._cpu)
        self._spread(working[::-1], skip=self._cpu)
        self._spread(working)
        self._spread(working[::-1])
        for node in working:
            if node.backend is None:
                node.backend = self._best_supplied(node)
        for node in graph.nodes:
            if node.backend is None:
                node.backend = node.root.backend
            for source in node.sources:
                if source.backend is None:
                    root = source.root
                    source.backend = node.backend if root.backend is None else root.backend
            if node.backend is None:
                node.backend = 0

    def _from_memory(self, node: Tensor) -> int | None:
        """Return the backend of a node's own memory, else that of its first weight."""
        if node.view_of is not None and node.view_of.place is not None:
            return node.view_of.place
        if node.op in _FOLLOWS_NO_WEIGHT:
            return None
        for source in node.sources:
            if source.is_weight:
                if source.streamable and source.place == self._cpu:
                    return self._streaming_device(node)
                return source.place if self._computes(source.place, node) else None
        return None

    def _spread(self, nodes: Sequence[Tensor], *, skip: int | None = None) -> None:
        """Give unassigned nodes the backend of the last assigned one before, unless skipped."""
        current: int | None = None
        for node in nodes:
            if node.backend is not None:
                current = None if node.backend == skip else node.backend
            elif current is not None and self._computes(current, node):
                node.backend = current

    def _best_supplied(self, node: Tensor) -> int:
        """Return the backend, of those that have the operation, with most of its sources."""
        places = [s.root.backend if s.backend is None else s.backend for s in node.sources]
        able = [b for b in range(self._cpu + 1) if self._computes(b, node)]
        return max(able, key=lambda b: places.count(b))

    def _computes(self, backend: int | None, node: Tensor) -> bool:
        """Whether a backend has an operation; the CPU has all."""
        if backend is None or backend == self._cpu:
            return True
        return computes(self._devices[backend], node)

    def _streaming_device(self, node: Tensor) -> int:
        """Return the first device that takes an operation with a host weight, else the CPU."""
        for index, traits in enumerate(self._devices):
            if streams(traits, node):
                return index
        return self._cpu

    # ------------------------------------------------------------------ passes 5 and 6

    def _split(self, nodes: Sequence[Tensor]) -> list[_Split]:
        first = next(node for node in nodes if node.op not in VIEWS)
        split = _Split(first.backend or 0, 0, len(nodes), [])
        splits = [split]
        for index, node in enumerate(nodes):
            if node.op in VIEWS:
                continue
            backend = node.backend or 0
            if backend != split.backend or (split.inputs and self._streams(node, backend)):
                split.end = index
                split = _Split(backend, index, len(nodes), [])
                splits.append(split)
            for position, source in enumerate(node.sources):
                if source.backend != backend and (source.backend is not None):
                    node.sources[position] = self._copy(source, split)
        return splits

    def _streams(self, node: Tensor, backend: int) -> bool:
        """Whether a weight lies elsewhere: a new split lets the last one's memory be used again."""
        return any(s.is_weight and s.place != backend for s in node.sources)

    def _copy(self, source: Tensor, split: _Split) -> Tensor:
        key = (id(source), split.backend)
        copies = self._copies.get(key)
        if copies is None:
            copies = [self._duplicate(source) for _ in range(self._n_copies)]
            self._copies[key] = copies
            split.inputs.append(source)
        return copies[0]

    def _duplicate(self, source: Tensor) -> Tensor:
        copy = Tensor(
            "none",
            source.ne,
            [],
            type_=source.type,
            n_bytes=source.n_bytes,
            packed=source.packed,
        )
        copy.is_input = copy.is_output = self._n_copies > 1
        return copy

    def _in_order(
        self, graph: Graph, splits: Sequence[_Split]
    ) -> tuple[list[tuple[Tensor, int]], list[tuple[Tensor, int]]]:
        """Return nodes and leafs with their backends, copies at the start of their split."""
        nodes: list[tuple[Tensor, int]] = []
        leafs: list[tuple[Tensor, int]] = []
        for split in splits:
            for source in split.inputs:
                kept = Tensor(
                    "none", source.ne, [source], n_bytes=source.n_bytes, view_of=source.root
                )
                nodes.append((kept, source.backend or 0))
                nodes.append((self._copies[id(source), split.backend][0], split.backend))
            nodes.extend((n, n.backend or 0) for n in graph.nodes[split.start : split.end])
        if self._n_copies > 1:
            for leaf in graph.leafs:
                if leaf.is_input:
                    leaf.is_output = True
                    leafs.append((leaf, self._cpu))
                    leafs.extend(
                        (self._duplicate(leaf), self._cpu) for _ in range(self._n_copies - 1)
                    )
            for split in splits:
                for source in split.inputs:
                    copies = self._copies[id(source), split.backend]
                    leafs.extend((copy, split.backend) for copy in copies)
        leafs.extend((leaf, leaf.backend or 0) for leaf in graph.leafs)
        return nodes, leafs


def _arena(traits: DeviceTraits) -> AnyArena:
    size = DeviceSize(traits)
    if traits.max_buffer_bytes is None:
        return Arena(traits.alignment_bytes, size)
    return CutArena(traits.alignment_bytes, size, traits.max_buffer_bytes)


def _host_size(tensor: Tensor) -> int:
    return tensor.n_bytes
