"""Tensors of a compute graph, the operations that make them, and the order ggml computes them in.

An operation's result knows its size, its sources and whether it is a view, which is all that the
scheduler and the allocator ask. Names of operations are ggml's, in lower case.
"""

from __future__ import annotations

from math import prod

_ELEMENT_BYTES = {"f32": 4, "f16": 2, "bf16": 2, "i32": 4, "i64": 8}

VIEWS = frozenset({"view", "reshape", "permute", "transpose"})
"""Operations that compute nothing (``ggml_is_view_op``)."""

IN_PLACE = frozenset({"add", "mul", "div", "unary", "rope", "rms_norm", "soft_max"})
"""Operations that may write over a source of the same layout (``ggml_op_can_inplace``). Scaling,
clamping, tanh and the like are ``unary`` here, subtraction is ``add``."""

Dims = tuple[int, ...]


class Tensor:
    """One tensor. ``place`` and ``streamable`` say where a weight or a cache lies already.

    A plain class, mutable and without validation: a search builds some ten thousand of them.
    """

    __slots__ = (
        "allocated",
        "arena",
        "backend",
        "is_input",
        "is_output",
        "is_weight",
        "n_bytes",
        "n_children",
        "n_views",
        "ne",
        "offset",
        "op",
        "packed",
        "pinned",
        "place",
        "room",
        "sources",
        "streamable",
        "type",
        "view_of",
        "visited",
    )

    def __init__(
        self,
        op: str,
        ne: Dims,
        sources: list[Tensor],
        *,
        type_: str = "f32",
        n_bytes: int | None = None,
        view_of: Tensor | None = None,
        packed: bool = True,
    ) -> None:
        """``ne`` as in ggml, without trailing ones; ``n_bytes`` where the type does not say."""
        self.op = op
        self.ne = ne
        self.sources = sources
        self.type = type_
        self.n_bytes: int = prod(ne) * _ELEMENT_BYTES[type_] if n_bytes is None else n_bytes
        self.view_of = view_of
        self.packed = packed
        """False: strided, so of another layout than any result."""
        self.is_input = False
        self.is_output = False
        self.is_weight = False
        self.place: int | None = None
        """Backend whose memory holds it before the graph is computed."""
        self.streamable = False
        """A weight in ordinary host memory: prompt batches may copy it to a device."""
        self.pinned: int | None = None
        """Backend that llama.cpp itself assigns."""
        self.backend: int | None = None
        self.visited = False
        self.allocated = False
        self.arena = 0
        self.offset = 0
        self.room = 0
        self.n_children = 0
        self.n_views = 0

    @property
    def root(self) -> Tensor:
        """The tensor that a view looks at, or the tensor itself."""
        return self.view_of or self

    @property
    def n_rows(self) -> int:
        """``ggml_nrows``: product of all dimensions but the first."""
        return prod(self.ne[1:])


class Graph:
    """Nodes and leafs in the order of ``ggml_build_forward_expand``, and one method per operation.

    Sources are kept in ggml's order: it decides the order of the nodes.
    """

    def __init__(self) -> None:
        """An empty graph."""
        self.nodes: list[Tensor] = []
        self.leafs: list[Tensor] = []
        self.attentions: list[tuple[int, Tensor]] = []
        """Fused attentions, each with the backend that its block lies on."""

    def expand(self, tensor: Tensor) -> Tensor:
        """Add a tensor and, before it, everything it is computed from."""
        if not tensor.visited:
            tensor.visited = True
            for source in tensor.sources:
                if not source.visited:
                    self.expand(source)
            (self.leafs if tensor.op == "none" else self.nodes).append(tensor)
        return tensor

    # ------------------------------------------------------------------ what is there before

    def input(self, ne: Dims, type_: str = "f32") -> Tensor:
        """Return data that llama.cpp writes before each batch; it lies on the host."""
        tensor = Tensor("none", ne, [], type_=type_)
        tensor.is_input = True
        return tensor

    def stored(
        self, ne: Dims, n_bytes: int, place: int, *, type_: str = "f32", weight: bool = False
    ) -> Tensor:
        """Return a weight, or a cache, that has memory already."""
        tensor = Tensor("none", ne, [], type_=type_, n_bytes=n_bytes)
        tensor.place = place
        tensor.is_weight = weight
        return tensor

    # ------------------------------------------------------------------ views

    def view(
        self,
        a: Tensor,
        ne: Dims,
        *,
        packed: bool = False,
        n_bytes: int | None = None,
        op: str = "view",
    ) -> Tensor:
        """Part of a tensor; ``packed`` where its rows follow each other without gaps.

        ``n_bytes``: from its first element to its last, where a strided view is copied and this is
        less than all of ``a``.
        """
        if packed:
            n_bytes = prod(ne) * _ELEMENT_BYTES[a.type]
        elif n_bytes is None:
            n_bytes = a.n_bytes
        return Tensor(op, ne, [a], type_=a.type, n_bytes=n_bytes, view_of=a.root, packed=packed)

    def reshape(self, a: Tensor, ne: Dims) -> Tensor:
        """All of a tensor in other dimensions."""
        return Tensor(
            "reshape", ne, [a], type_=a.type, n_bytes=a.n_bytes, view_of=a.root, packed=a.packed
        )

    def permute(self, a: Tensor, ne: Dims) -> Tensor:
        """A tensor with its dimensions in another order."""
        return self.view(a, ne, op="permute")

    # ------------------------------------------------------------------ results

    def result(self, op: str, ne: Dims, *sources: Tensor | None, type_: str = "f32") -> Tensor:
        """Return any operation's result, F32 unless said otherwise."""
        return Tensor(op, ne, [s for s in sources if s is not None], type_=type_)

    def mul_mat(self, weight: Tensor, x: Tensor) -> Tensor:
        """``weight [k, m]`` times ``x [k, n, ...]`` -> ``[m, n, ...]``."""
        n_rows = weight.ne[1] if len(weight.ne) > 1 else 1
        return Tensor("mul_mat", (n_rows, *x.ne[1:]), [weight, x])

    def mul_mat_id(self, experts: Tensor, x: Tensor, ids: Tensor) -> Tensor:
        """``experts [k, m, n_expert]`` -> ``[m, n_used, n_tokens]``."""
        return Tensor("mul_mat_id", (experts.ne[1], ids.ne[0], x.ne[2]), [experts, x, ids])

    def like(self, op: str, a: Tensor, *others: Tensor | None) -> Tensor:
        """Element by element: a result of the first source's shape."""
        return Tensor(op, a.ne, [a, *[o for o in others if o is not None]], type_=a.type)

    def get_rows(self, a: Tensor, ids: Tensor) -> Tensor:
        """Return the rows of ``a`` that ``ids`` names, F32 (I32 stays)."""
        ne = (a.ne[0], *ids.ne) if len(ids.ne) < 2 else (a.ne[0], ids.ne[0], *ids.ne[1:])
        return Tensor("get_rows", ne, [a, ids], type_="i32" if a.type == "i32" else "f32")

    def set_rows(self, into: Tensor, rows: Tensor, ids: Tensor) -> Tensor:
        """Write rows into a cache: a view of it."""
        return Tensor(
            "set_rows",
            into.ne,
            [rows, ids, into],
            type_=into.type,
            n_bytes=into.n_bytes,
            view_of=into.root,
        )

    def copy_into(self, rows: Tensor, into: Tensor) -> Tensor:
        """Copy to a place that exists: a view of it (``ggml_cpy``)."""
        return Tensor(
            "cpy",
            into.ne,
            [rows, into],
            type_=into.type,
            n_bytes=into.n_bytes,
            view_of=into.root,
            packed=into.packed,
        )

    def cont(self, a: Tensor, ne: Dims | None = None) -> Tensor:
        """Return a packed copy."""
        return Tensor("cont", ne or a.ne, [a], type_=a.type)
