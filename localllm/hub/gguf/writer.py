"""GGUF headers written: for shapes that are recorded and for dry runs, never with weights.

Keys and values with their exact types, and tensor infos laid out one after the other as llama.cpp
demands. The data themselves are a hole: whoever writes the file extends it to ``file_bytes``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from localllm.core.ggml import TYPES_BY_NAME
from localllm.core.model import TensorInfo
from localllm.hub.gguf.types import ARRAY, STRING, VALUE_FORMATS, VALUE_TYPES

VERSION = 3
DEFAULT_ALIGNMENT = 32

Scalar = str | int | float | bool
TypedValue = tuple[str, Scalar | list[Scalar] | tuple[Scalar, ...]]
"""GGUF's name of a type (``u32``, ``f32``, ``bool``, ``string`` ...) and a value of it; a list or a
tuple is an array of that type."""

_TYPE_IDS = {name: type_id for type_id, (name, _) in VALUE_TYPES.items() if type_id != ARRAY}


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenHeader:
    """A header, and the size of the file that it begins."""

    data: bytes
    """From the magic to where the tensor data begin, padding included."""
    file_bytes: int
    """Size of the whole file, the last tensor's padding included."""

    @property
    def data_offset(self) -> int:
        """Where the tensor data begin."""
        return len(self.data)


def write_header(
    keys: Sequence[tuple[str, TypedValue]],
    tensors: Sequence[TensorInfo],
    *,
    alignment: int = DEFAULT_ALIGNMENT,
) -> WrittenHeader:
    """Return a GGUF header with these keys and tensors, in this order.

    Tensors are laid out anew, one after the other: their ``offset`` and ``part`` do not count. An
    ``alignment`` other than 32 is written as ``general.alignment``. Raises ValueError for an
    unknown type, a value that its type cannot hold, or a key that occurs twice.
    """
    entries = [key_value(key, value) for key, value in keys]
    names = [key for key, _ in keys]
    if alignment != DEFAULT_ALIGNMENT and "general.alignment" not in names:
        names.append("general.alignment")
        entries.append(key_value("general.alignment", ("u32", alignment)))
    if len(set(names)) != len(names):
        raise ValueError("a key occurs twice")
    return assemble(entries, tensors, alignment=alignment)


def key_value(key: str, typed: TypedValue) -> bytes:
    """Return a key and its value as they stand in the file. Raises what ``write_header`` does."""
    name, value = typed
    if name not in _TYPE_IDS:
        raise ValueError(f"{key}: GGUF has no type {name!r}")
    type_id = _TYPE_IDS[name]
    if isinstance(value, list | tuple):
        body = struct.pack("<iiQ", ARRAY, type_id, len(value))
        body += b"".join(_packed(key, type_id, each) for each in value)
    else:
        body = struct.pack("<i", type_id) + _packed(key, type_id, value)
    return string(key.encode()) + body


def assemble(
    entries: Iterable[bytes], tensors: Sequence[TensorInfo], *, alignment: int
) -> WrittenHeader:
    """Return a header of keys and values that are bytes already (``key_value``), and tensors."""
    entries = tuple(entries)
    pieces = [b"GGUF", struct.pack("<Iqq", VERSION, len(tensors), len(entries)), *entries]
    offset = 0
    for tensor in tensors:
        n_dims = len(tensor.shape)
        pieces.append(string(tensor.name.encode()))
        pieces.append(
            struct.pack(
                f"<I{n_dims}qiQ", n_dims, *tensor.shape, TYPES_BY_NAME[tensor.type].id, offset
            )
        )
        offset = _padded(offset + tensor.n_bytes, alignment)
    data = b"".join(pieces)
    if tensors:
        data = data.ljust(_padded(len(data), alignment), b"\0")
    return WrittenHeader(data=data, file_bytes=len(data) + offset)


def string(raw: bytes) -> bytes:
    """Return a string as it stands in the file: its length, then its bytes."""
    return struct.pack("<Q", len(raw)) + raw


def _packed(key: str, type_id: int, value: Scalar) -> bytes:
    """One value without its type."""
    type_name = VALUE_TYPES[type_id][0]
    if isinstance(value, str) != (type_id == STRING) or (
        isinstance(value, bool) != (type_name == "bool")
    ):
        raise ValueError(f"{key}: {value!r} is no {type_name}")
    if isinstance(value, str):
        return string(value.encode())
    try:
        return struct.pack("<" + VALUE_FORMATS[type_id], value)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{key}: {value!r} is no {type_name} ({error})") from None


def _padded(n: int, alignment: int) -> int:
    return -(-n // alignment) * alignment
