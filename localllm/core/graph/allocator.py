"""Where ggml puts each intermediate result: its graph allocator, over shapes alone.

``ggml/src/ggml-alloc.c``: every tensor takes the smallest free block that holds it, else the end of
the arena; an operation may write over a source that nobody needs any more; memory is freed after
the last reader. The highest end is the compute buffer. Fragments are part of the answer, which is
why a sum of live tensors would not do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from localllm.core.graph.tensors import IN_PLACE, Tensor

_ENDLESS = 1 << 62

AllocSize = Callable[[Tensor], int]
"""Bytes that a buffer type wants for a tensor (``get_alloc_size``)."""


class Arena:
    """Free blocks of one buffer, by address; the last one is endless."""

    __slots__ = ("alignment", "alloc_size", "blocks", "size")

    def __init__(self, alignment: int, alloc_size: AllocSize) -> None:
        """Empty, of a power-of-two alignment."""
        self.alignment = alignment
        self.alloc_size = alloc_size
        self.blocks = [[0, _ENDLESS]]
        self.size = 0

    def padded(self, n_bytes: int) -> int:
        """Round up to the alignment."""
        return (n_bytes + self.alignment - 1) & -self.alignment

    def take(self, n_bytes: int) -> int:
        """Return the offset of a block: the best fit, of equals the last."""
        blocks = self.blocks
        best = len(blocks) - 1
        best_size = _ENDLESS
        for index in range(best):
            size = blocks[index][1]
            if n_bytes <= size <= best_size:
                best, best_size = index, size
        block = blocks[best]
        offset = block[0]
        block[0] += n_bytes
        block[1] -= n_bytes
        if block[1] == 0:
            del blocks[best]
        end = offset + n_bytes
        if end > self.size:
            self.size = end
        return offset

    def give_back(self, offset: int, n_bytes: int) -> None:
        """Free a range, and join it with the free blocks beside it."""
        blocks = self.blocks
        end = offset + n_bytes
        for index, block in enumerate(blocks):
            if block[0] + block[1] == offset:
                block[1] += n_bytes
                if index + 1 < len(blocks) and blocks[index + 1][0] == end:
                    block[1] += blocks[index + 1][1]
                    del blocks[index + 1]
                return
            if block[0] == end:
                block[0] = offset
                block[1] += n_bytes
                return
            if block[0] > end:
                blocks.insert(index, [offset, n_bytes])
                return
        blocks.append([offset, n_bytes])


_CHUNK = 1 << 48
"""Offsets of a cut arena are this many bytes apart from one chunk to the next."""

_MAX_CHUNKS = 16
"""``GGML_VBUFFER_MAX_CHUNKS``; the last one is endless."""


class CutArena:
    """An arena of several buffers, where a device has a largest one (``tallocr_chunk``).

    A chunk is only larger where a single tensor does not fit otherwise. What is free in one chunk
    and too small is lost, so the whole is larger than one buffer would be.
    """

    __slots__ = ("_largest", "alignment", "alloc_size", "chunks")

    def __init__(self, alignment: int, alloc_size: AllocSize, largest: int) -> None:
        """``largest``: bytes of the largest buffer."""
        self.alignment = alignment
        self.alloc_size = alloc_size
        self.chunks: list[Arena] = []
        self._largest = largest

    @property
    def size(self) -> int:
        """Bytes of all chunks together."""
        return sum(chunk.size for chunk in self.chunks)

    def padded(self, n_bytes: int) -> int:
        """Round up to the alignment."""
        return (n_bytes + self.alignment - 1) & -self.alignment

    def take(self, n_bytes: int) -> int:
        """Return the offset of a block, chunk and place in one number."""
        index = self._chunk_with_gap(n_bytes)
        if index is None:
            index = self._chunk_to_grow(n_bytes)
        if index is None:
            chunk = Arena(self.alignment, self.alloc_size)
            if len(self.chunks) < _MAX_CHUNKS - 1:
                chunk.blocks = [[0, max(n_bytes, self._largest)]]
            index = len(self.chunks)
            self.chunks.append(chunk)
        return index * _CHUNK + self.chunks[index].take(n_bytes)

    def give_back(self, offset: int, n_bytes: int) -> None:
        """Free a range of the chunk that it lies in."""
        self.chunks[offset // _CHUNK].give_back(offset % _CHUNK, n_bytes)

    def _chunk_with_gap(self, n_bytes: int) -> int | None:
        """Return the last chunk with a gap that is large enough, its open end not counted."""
        found = None
        for index, chunk in enumerate(self.chunks):
            if any(size >= n_bytes for _, size in chunk.blocks[:-1]):
                found = index
        return found

    def _chunk_to_grow(self, n_bytes: int) -> int | None:
        """Return the chunk whose open end grows least, or is left with least to spare."""
        found, best = None, -(1 << 63)
        for index, chunk in enumerate(self.chunks):
            if not chunk.blocks or chunk.blocks[-1][1] < n_bytes:
                continue
            spare = chunk.size - chunk.blocks[-1][0] - n_bytes
            if (best < 0 and spare > best) or 0 <= spare < best:
                found, best = index, spare
        return found


AnyArena = Arena | CutArena


def allocate(
    leafs: Iterable[tuple[Tensor, int]],
    nodes: Sequence[tuple[Tensor, int]],
    arenas: Sequence[AnyArena],
) -> None:
    """Lay a graph out; each tensor comes with the arena of its backend.

    ``ggml_gallocr_alloc_graph_impl``: leafs first, then inputs, then node by node. Afterwards
    every arena's ``size`` is the buffer that llama.cpp reserves.
    """
    for leaf, arena in leafs:
        _place(leaf, arena, arenas)
    for node, arena in nodes:
        if node.view_of is not None and node.op != "none":
            node.view_of.n_views += 1
        if node.is_input:
            _place(node, arena, arenas)
        for source in node.sources:
            source.n_children += 1
            if source.is_input:
                _place(source, arena, arenas)
    for node, arena in nodes:
        sources = node.sources
        for source in sources:
            if not source.allocated:
                _place(source, arena, arenas)
        if not node.allocated:
            _place(node, arena, arenas)
        for source in sources:
            source.n_children -= 1
            if source.n_children == 0 and source.n_views == 0:
                root = source.view_of
                if root is None:
                    if source.allocated:
                        _free(source, arenas)
                else:
                    root.n_views -= 1
                    if root.n_views == 0 and root.n_children == 0 and root.allocated:
                        _free(root, arenas)


def _place(tensor: Tensor, index: int, arenas: Sequence[AnyArena]) -> None:
    if tensor.allocated or tensor.view_of is not None or tensor.place is not None:
        return
    tensor.allocated = True
    if tensor.op in IN_PLACE:
        for parent in tensor.sources:
            if (
                parent.allocated
                and parent.n_children == 1
                and parent.n_views == 0
                and not parent.is_output
                and parent.ne == tensor.ne
                and parent.type == tensor.type
                and parent.packed
            ):
                _take_over(tensor, parent, arenas)
                return
    arena = arenas[index]
    tensor.arena = index
    tensor.room = arena.padded(arena.alloc_size(tensor))
    tensor.offset = arena.take(tensor.room)


def _take_over(tensor: Tensor, parent: Tensor, arenas: Sequence[AnyArena]) -> None:
    """Write over a source, and free what the source had beyond (a scratch area)."""
    tensor.arena, tensor.offset = parent.arena, parent.offset
    parent.allocated = False
    arena = arenas[parent.arena]
    tensor.room = arena.padded(arena.alloc_size(tensor))
    if parent.room > tensor.room:
        arena.give_back(parent.offset + tensor.room, parent.room - tensor.room)


def _free(tensor: Tensor, arenas: Sequence[AnyArena]) -> None:
    if not tensor.is_output:
        arenas[tensor.arena].give_back(tensor.offset, tensor.room)
        tensor.allocated = False
