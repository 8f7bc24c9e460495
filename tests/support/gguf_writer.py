"""GGUF files, byte by byte: typed values, tensor infos, and files with holes instead of weights.

Written against the format's description and by hand, so that the reader is never tested with
itself, and so that broken files are as easy to make as good ones.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from localllm.core.ggml import TYPES_BY_NAME, row_bytes

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f"}
_FORMATS |= {BOOL: "?", U64: "Q", I64: "q", F64: "d"}


class Value(NamedTuple):
    """One metadata value: its GGUF type and its bytes."""

    type: int
    payload: bytes


def scalar(kind: int, value: float) -> Value:
    """A number or a bool of an explicit GGUF type."""
    return Value(kind, struct.pack("<" + _FORMATS[kind], value))


def u32(value: int) -> Value:
    return scalar(U32, value)


def f32(value: float) -> Value:
    return scalar(F32, value)


def boolean(value: bool) -> Value:
    return scalar(BOOL, value)


def string(value: str | bytes) -> Value:
    raw = value.encode() if isinstance(value, str) else value
    return Value(STRING, packed_string(raw))


def packed_string(raw: bytes) -> bytes:
    return len(raw).to_bytes(8, "little") + raw


def array(kind: int, values: Sequence[float]) -> Value:
    """An array of numbers or bools."""
    body = struct.pack(f"<{len(values)}{_FORMATS[kind]}", *values)
    return Value(ARRAY, struct.pack("<iQ", kind, len(values)) + body)


def strings(values: Sequence[str]) -> Value:
    """An array of strings."""
    body = b"".join([packed_string(value.encode()) for value in values])
    return Value(ARRAY, struct.pack("<iQ", STRING, len(values)) + body)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor to be written: a ggml type name and a shape in ggml's order, row length first."""

    name: str
    type: str
    shape: tuple[int, ...]

    @property
    def n_elements(self) -> int:
        product = 1
        for n in self.shape:
            product *= n
        return product

    @property
    def n_bytes(self) -> int:
        return row_bytes(self.type, self.n_elements)


Fill = Callable[[Tensor], bytes]
"""Data of a tensor; without one the weights are a hole in the file and read as zeros."""


def pad(n: int, alignment: int) -> int:
    """Round up to a multiple of the alignment (``GGML_PAD``)."""
    return -(-n // alignment) * alignment


def header_bytes(
    metadata: Mapping[str, Value],
    tensors: Iterable[Tensor],
    *,
    version: int = 3,
    alignment: int = 32,
) -> bytes:
    """The whole header: magic to the last tensor info, without the padding before the data."""
    tensors = tuple(tensors)
    if alignment != 32:
        metadata = {**metadata, "general.alignment": u32(alignment)}
    parts = [b"GGUF", struct.pack("<Iqq", version, len(tensors), len(metadata))]
    for key, value in metadata.items():
        parts += [packed_string(key.encode()), struct.pack("<i", value.type), value.payload]
    offset = 0
    for tensor in tensors:
        n_dims = len(tensor.shape)
        type_id = TYPES_BY_NAME[tensor.type].id
        parts.append(packed_string(tensor.name.encode()))
        parts.append(
            struct.pack(f"<I{n_dims}qiQ", n_dims, *tensor.shape, type_id, offset),
        )
        offset += pad(tensor.n_bytes, alignment)
    return b"".join(parts)


def write_gguf(
    path: Path,
    metadata: Mapping[str, Value],
    tensors: Iterable[Tensor] = (),
    *,
    fill: Fill | None = None,
    version: int = 3,
    alignment: int = 32,
) -> Path:
    """Write one GGUF file. Without ``fill`` it is sparse: full size, header only on the disk."""
    tensors = tuple(tensors)
    header = header_bytes(metadata, tensors, version=version, alignment=alignment)
    start = pad(len(header), alignment) if tensors else len(header)
    with path.open("wb") as file:
        file.write(header)
        position = start
        for tensor in tensors:
            if fill is not None:
                file.seek(position)
                file.write(fill(tensor))
            position += pad(tensor.n_bytes, alignment)
        file.truncate(position)
    return path
