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


def allocate(
    leafs: Iterable[tuple[Tensor, int]],
    nodes: Sequence[tuple[Tensor, int]],
    arenas: Sequence[Arena],
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


def _place(tensor: Tensor, index: int, arenas: Sequence[Arena]) -> None:
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


def _take_over(tensor: Tensor, parent: Tensor, arenas: Sequence[Arena]) -> None:
    """Write over a source, and free what the source had beyond (a scratch area)."""
    tensor.arena, tensor.offset = parent.arena, parent.offset
    parent.allocated = False
    arena = arenas[parent.arena]
    tensor.room = arena.padded(arena.alloc_size(tensor))
    if parent.room > tensor.room:
        arena.give_back(parent.offset + tensor.room, parent.room - tensor.room)


def _free(tensor: Tensor, arenas: Sequence[Arena]) -> None:
    if not tensor.is_output:
        arenas[tensor.arena].give_back(tensor.offset, tensor.room)
        tensor.allocated = False
