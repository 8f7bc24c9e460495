"""The tensor infos of a GGUF header: names, shapes, types and places, checked as ggml checks them.

And one thing more, which ggml leaves to its loader: that the data are all there.
"""

from __future__ import annotations

from localllm.core.ggml import REMOVED_TYPE_IDS, TYPES_BY_ID, GgmlType
from localllm.core.model import TensorInfo
from localllm.errors import GGUFError
from localllm.hub.gguf.cursor import I32, I64, INCOMPLETE, NEWER, OLD, U32, U64, Cursor
from localllm.hub.gguf.types import REMOVED_TYPE_NAMES
from localllm.units import format_bytes

MAX_NAME_BYTES = 63
MAX_DIMS = 4


def read_tensors(
    cursor: Cursor, n_tensors: int, alignment: int
) -> tuple[tuple[TensorInfo, ...], int]:
    """Read ``n_tensors`` infos; returns them and where the data begin, both from the file's start.

    Raises GGUFError for what ggml refuses, and where the file ends before its data do.
    """
    found: list[tuple[str, GgmlType, tuple[int, ...], int, int]] = []
    seen: set[str] = set()
    expected = end = 0
    for _ in range(n_tensors):
        name = _tensor_name(cursor, seen)
        shape, n_elements = _shape(cursor, name)
        kind = _tensor_type(cursor, name)
        offset = cursor.number(U64, f"tensor {name}")
        if shape[0] % kind.block:
            raise cursor.error(
                f"tensor {name} has rows of {shape[0]:,} elements, not whole blocks of {kind.block}"
            )
        if offset != expected:
            raise cursor.error(f"tensor {name} is at {offset:,} where {expected:,} is expected")
        n_bytes = n_elements // kind.block * kind.n_bytes
        end = offset + n_bytes
        expected = -(-end // alignment) * alignment
        if expected >= 2**64:
            raise cursor.error(f"tensor {name} is larger than any file")
        found.append((name, kind, shape, n_bytes, offset))
    header_end = cursor.offset
    data_offset = -(-header_end // alignment) * alignment if found else header_end
    n_missing = data_offset + end - cursor.size
    if n_missing > 0:
        raise GGUFError(
            f"the file is incomplete: {format_bytes(n_missing)} ({n_missing:,} bytes) of"
            f" {format_bytes(data_offset + end)} are missing at its end.",
            offset=cursor.size,
            hint=INCOMPLETE,
        )
    tensors = tuple(
        TensorInfo(
            name=name, type=kind.name, shape=shape, n_bytes=n_bytes, offset=data_offset + offset
        )
        for name, kind, shape, n_bytes, offset in found
    )
    return tensors, data_offset


def _tensor_name(cursor: Cursor, seen: set[str]) -> str:
    raw = cursor.string_bytes(MAX_NAME_BYTES, "the name of a tensor")
    name = raw.decode(errors="replace")
    if not name or not name.isprintable() or "\ufffd" in name:
        raise cursor.error("the name of a tensor is not plain text")
    if name in seen:
        raise cursor.error(f"tensor {name} occurs twice")
    seen.add(name)
    return name


def _shape(cursor: Cursor, name: str) -> tuple[tuple[int, ...], int]:
    """The shape, ``(1,)`` for a scalar, and the number of elements, checked as ggml checks it."""
    n_dims = cursor.number(U32, f"tensor {name}")
    if n_dims > MAX_DIMS:
        raise cursor.error(f"tensor {name} has {n_dims:,} dimensions; {MAX_DIMS} are allowed")
    shape = tuple(cursor.number(I64, f"tensor {name}") for _ in range(n_dims)) or (1,)
    n_elements = 1
    for n in shape:
        # in this order, so that a 0 further on does not hide what is too large before it
        if n < 0 or (n > 1 and (2**63 - 1) // n < n_elements):
            raise cursor.error(f"the shape of tensor {name} is impossible: {shape}")
        n_elements *= n
    return shape, n_elements


def _tensor_type(cursor: Cursor, name: str) -> GgmlType:
    type_id = cursor.number(I32, f"tensor {name}")
    if type_id in REMOVED_TYPE_IDS:
        old = REMOVED_TYPE_NAMES[type_id]
        raise cursor.error(f"tensor {name} is stored as {old}, which llama.cpp dropped", hint=OLD)
    kind = TYPES_BY_ID.get(type_id)
    if kind is None:
        raise cursor.error(f"tensor {name} has the unknown type {type_id}", hint=NEWER)
    return kind
