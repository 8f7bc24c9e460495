"""The GGUF header, parsed from bytes that nobody vouches for and checked before use.

A pure function over "give me these bytes" and the true size of the file: a local file, a buffer and
an HTTP range are read by the same code. It is never more permissive than ggml's own reader
(``ggml/src/gguf.cpp``), and a fuzz test against ggml says so. Large arrays, such as vocabularies,
are walked and not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from localllm.core.ggml import REMOVED_TYPE_IDS, TYPES_BY_ID, GgmlType
from localllm.core.model import MetadataValue, TensorInfo
from localllm.core.text import printable
from localllm.errors import GGUFError
from localllm.hub.foreign import foreign_error
from localllm.hub.gguf_cursor import I32, I64, INCOMPLETE, NEWER, OLD, U32, U64, Cursor, ReadAt
from localllm.hub.gguf_types import ARRAY, REMOVED_TYPE_NAMES, STRING, VALUE_TYPES
from localllm.units import MiB, format_bytes

MAGIC = b"GGUF"
MAX_KV = 65_536
MAX_TENSORS = 2**20
MAX_KEY_BYTES = 65_535
MAX_STRING_BYTES = 64 * MiB
MAX_TEMPLATE_BYTES = 256 * 1024
MAX_ALIGNMENT = 2**20
MAX_ARRAY = 2**30
"""ggml's own limit, in elements."""
MAX_STRINGS = 2**24
"""Strings of one array; the largest vocabularies have 262,144 tokens and twice as many merges."""
KEPT_ELEMENTS = 4096
KEPT_BYTES = MiB
"""What is larger is described (``GGUFHeader.arrays``) and not kept."""
MAX_NAME_BYTES = 63
MAX_DIMS = 4

_U32_TYPE = 4
_FORMATS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}


class NeedMoreError(GGUFError):
    """The buffer ends before the header does; at least ``needed_bytes`` of the file are needed."""

    def __init__(self, needed_bytes: int) -> None:
        """Say how many bytes from the start of the file to have before parsing again."""
        super().__init__(f"at least {needed_bytes:,} bytes of the file are needed")
        self.needed_bytes = needed_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayRef:
    """Where an array (or a long string) lies in the file."""

    type: str
    """GGUF's name of the element type: ``string``, ``i32``, ``f32`` ..."""
    n: int
    offset: int
    """Of the first element, in bytes from the start of the file."""
    n_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GGUFHeader:
    """Everything that a file says of itself, its weights excepted."""

    version: int
    metadata: Mapping[str, MetadataValue]
    """Scalars, strings up to 1 MiB, and arrays up to 4,096 elements (as tuples), by key."""
    arrays: Mapping[str, ArrayRef]
    """Every array, kept in ``metadata`` or not, and every string that was too long to keep."""
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    """Where the tensor data begin; the header is what lies before."""
    file_bytes: int

    @property
    def n_tokens(self) -> int:
        """Size of the vocabulary in the file, 0 without one."""
        tokens = self.arrays.get("tokenizer.ggml.tokens")
        return tokens.n if tokens is not None else 0

    @property
    def template(self) -> str | None:
        """The chat template, a Jinja program by a stranger: to be rendered in the engine child."""
        value = self.metadata.get("tokenizer.chat_template")
        return value if isinstance(value, str) else None


def parse_buffer(buffer: bytes, size: int | None = None) -> GGUFHeader:
    """Parse the header from the first bytes of a file of ``size`` bytes (default: all of it).

    Raises NeedMoreError where the buffer ends too early, GGUFError where the file is at fault.
    """

    def read_at(offset: int, n_min: int, n_max: int) -> bytes:
        if offset + n_min > len(buffer):
            raise NeedMoreError(offset + n_min)
        return buffer[offset : offset + n_max]

    return parse_header(read_at, len(buffer) if size is None else size)


def parse_header(read_at: ReadAt, size: int) -> GGUFHeader:
    """Parse the header of a file of ``size`` bytes. Raises GGUFError and what ``read_at`` does."""
    start = read_at(0, min(size, 24), min(size, 512))
    if size < 24 or not start.startswith(MAGIC):
        raise foreign_error(start, size)
    cursor = Cursor(read_at, size)
    cursor.skip(len(MAGIC))
    version = _version(cursor)
    n_tensors = cursor.number(I64, "the number of tensors")
    n_kv = cursor.number(I64, "the number of metadata keys")
    if not 0 <= n_kv <= MAX_KV or n_kv * 13 > size:
        raise cursor.error(f"{n_kv:,} metadata keys cannot be in {size:,} bytes")
    if not 0 <= n_tensors <= MAX_TENSORS or n_tensors * 24 > size:
        raise cursor.error(f"{n_tensors:,} tensors cannot be in {size:,} bytes")
    metadata, arrays, alignment = _metadata(cursor, n_kv)
    tensors, data_offset = _tensors(cursor, n_tensors, alignment)
    return GGUFHeader(
        version=version,
        metadata=metadata,
        arrays=arrays,
        tensors=tensors,
        data_offset=data_offset,
        file_bytes=size,
    )


def _version(cursor: Cursor) -> int:
    version = cursor.number(U32, "the version")
    if version & 0xFFFF == 0:
        raise cursor.error(
            "the file was written for machines of the other byte order (big-endian)",
            hint="Get the ordinary little-endian file of the same model.",
        )
    if version == 1:
        raise cursor.error("GGUF version 1 is no longer supported", hint=OLD)
    if version > 3:
        raise cursor.error(f"GGUF version {version:,} is unknown", hint=NEWER)
    return version


def _metadata(
    cursor: Cursor, n_kv: int
) -> tuple[dict[str, MetadataValue], dict[str, ArrayRef], int]:
    metadata: dict[str, MetadataValue] = {}
    arrays: dict[str, ArrayRef] = {}
    seen: set[str] = set()
    alignment = 32
    for _ in range(n_kv):
        key = _key(cursor, seen)
        what = f'the value of "{printable(key[:64])}"'
        kind = cursor.number(I32, what)
        if kind == ARRAY:
            _array(cursor, key, what, metadata, arrays)
        elif kind == STRING:
            _string(cursor, key, what, metadata, arrays)
        elif kind in _FORMATS:
            metadata[key] = cursor.numbers(_FORMATS[kind], 1, what)[0]
        else:
            raise cursor.error(f"{what} has the unknown type {kind}", hint=NEWER)
        if key == "general.alignment":
            alignment = _alignment(cursor, kind, metadata.get(key))
    return metadata, arrays, alignment


def _key(cursor: Cursor, seen: set[str]) -> str:
    raw = cursor.string_bytes(MAX_KEY_BYTES, "a metadata key")
    try:
        key = raw.decode()
    except UnicodeDecodeError:
        raise cursor.error("a metadata key is not UTF-8") from None
    if not key:
        raise cursor.error("a metadata key is empty")
    if key in seen:
        raise cursor.error(f'the metadata key "{printable(key[:64])}" occurs twice')
    seen.add(key)
    return key


def _string(
    cursor: Cursor,
    key: str,
    what: str,
    metadata: dict[str, MetadataValue],
    arrays: dict[str, ArrayRef],
) -> None:
    is_template = key.startswith("tokenizer.chat_template")
    n = cursor.string_length(MAX_TEMPLATE_BYTES if is_template else MAX_STRING_BYTES, what)
    if n > KEPT_BYTES:
        arrays[key] = ArrayRef(type="string", n=1, offset=cursor.offset, n_bytes=n)
        cursor.skip(n)
    else:
        metadata[key] = cursor.text(n, what)


def _array(
    cursor: Cursor,
    key: str,
    what: str,
    metadata: dict[str, MetadataValue],
    arrays: dict[str, ArrayRef],
) -> None:
    kind = cursor.number(I32, what)
    n = cursor.number(U64, what)
    if kind == ARRAY:
        raise cursor.error(f"{what} is an array of arrays, which GGUF does not allow")
    if kind not in VALUE_TYPES:
        raise cursor.error(f"{what} is an array of the unknown type {kind}", hint=NEWER)
    name, n_each = VALUE_TYPES[kind]
    limit = MAX_STRINGS if kind == STRING else MAX_ARRAY
    if n > limit or n * (n_each or 8) > cursor.remaining:
        raise cursor.error(f"{what} is an array of {n:,} elements, which cannot be")
    start = cursor.offset
    if kind != STRING:
        if n <= KEPT_ELEMENTS:
            metadata[key] = cursor.numbers(_FORMATS[kind], n, what)
        else:
            cursor.skip(n * n_each)
    elif n <= KEPT_ELEMENTS:
        values = _short_strings(cursor, n, what)
        if values is not None:
            metadata[key] = values
    else:
        cursor.skip_strings(n, what)
    arrays[key] = ArrayRef(type=name, n=n, offset=start, n_bytes=cursor.offset - start)


def _short_strings(cursor: Cursor, n: int, what: str) -> tuple[str, ...] | None:
    """The next ``n`` strings, or None (passed over all the same) when they are too much to keep."""
    values: list[str] = []
    n_left = KEPT_BYTES
    for i in range(n):
        length = cursor.string_length(MAX_STRING_BYTES, what)
        n_left -= length
        if n_left < 0:
            cursor.skip(length)
            cursor.skip_strings(n - i - 1, what)
            return None
        values.append(cursor.text(length, what))
    return tuple(values)


def _alignment(cursor: Cursor, kind: int, value: MetadataValue | None) -> int:
    if kind != _U32_TYPE or not isinstance(value, int):
        raise cursor.error("general.alignment is not an unsigned 32-bit number")
    if not 0 < value <= MAX_ALIGNMENT or value & (value - 1):
        raise cursor.error(f"an alignment of {value:,} bytes is not a power of two up to 2^20")
    return value


def _tensors(cursor: Cursor, n_tensors: int, alignment: int) -> tuple[tuple[TensorInfo, ...], int]:
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
            f" {format_bytes(data_offset + end)} are missing at its end",
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
