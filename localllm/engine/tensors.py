"""A ``ggml_tensor`` read in place: ggml's own accessors do not show operands, views and parameters.

The offsets are ggml's internal ones; ``layouts`` checks them before anybody reads with them.
"""

from __future__ import annotations

import ctypes

OFFSET_TYPE, OFFSET_NE, OFFSET_NB, OFFSET_OP, OFFSET_PARAMS = 0, 16, 48, 80, 84
OFFSET_SRC, OFFSET_VIEW_SRC, OFFSET_VIEW_OFFSET = 152, 232, 240
"""In bytes."""

_int32 = ctypes.c_int32.from_address
_int64 = ctypes.c_int64.from_address
_Four = ctypes.c_int64 * 4


class Tensor:
    """A ``ggml_tensor`` in place."""

    __slots__ = ("address",)

    def __init__(self, address: int) -> None:
        """Look at an address."""
        self.address = address

    @property
    def type(self) -> int:
        """ggml's number of the type."""
        return _int32(self.address + OFFSET_TYPE).value

    @property
    def ne(self) -> ctypes.Array[ctypes.c_int64]:
        """Elements per dimension."""
        return _Four.from_address(self.address + OFFSET_NE)

    @property
    def nb(self) -> ctypes.Array[ctypes.c_int64]:
        """Strides in bytes."""
        return _Four.from_address(self.address + OFFSET_NB)

    @property
    def n_elements(self) -> int:
        """Product of ``ne``."""
        a, b, c, d = self.ne
        return int(a * b * c * d)

    @property
    def op(self) -> int:
        """ggml's number of the operation."""
        return _int32(self.address + OFFSET_OP).value

    def param(self, index: int) -> int:
        """One of the operation's parameters, as an integer."""
        return _int32(self.address + OFFSET_PARAMS + 4 * index).value

    def param_float(self, index: int) -> float:
        """One of the operation's parameters, as a float."""
        return ctypes.c_float.from_address(self.address + OFFSET_PARAMS + 4 * index).value

    def source(self, index: int) -> Tensor | None:
        """Return an operand, or None."""
        address = _int64(self.address + OFFSET_SRC + 8 * index).value
        return Tensor(address) if address else None

    def sources(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return the first four operands, the fourth of which may be missing."""
        a, b, c = self.source(0), self.source(1), self.source(2)
        assert a is not None and b is not None and c is not None
        return a, b, c, self.source(3)

    def is_view_of(self, other: Tensor) -> bool:
        """Whether this shows the other's beginning: V of latent attention is a view of K."""
        source = _int64(self.address + OFFSET_VIEW_SRC).value
        if not source:
            return False
        return source == other.address or (
            source == _int64(other.address + OFFSET_VIEW_SRC).value
            and _int64(self.address + OFFSET_VIEW_OFFSET).value
            == _int64(other.address + OFFSET_VIEW_OFFSET).value
        )
