"""The GGUF header, parsed from bytes that nobody vouches for and checked before use.

A pure function over "give me these bytes" and the true size of the file: a local file, a buffer and
an HTTP range are read by the same code. It is never more permissive than ggml's own reader
(``ggml/src/gguf.cpp``), and a fuzz test against ggml says so. Large arrays, such as vocabularies,
are walked and not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from localllm.core.model import MetadataValue, TensorInfo
from localllm.core.text import printable
from localllm.errors import GGUFError
from localllm.hub.gguf.cursor import I32, I64, NEWER, OLD, U32, U64, Cursor, ReadAt
from localllm.hub.gguf.foreign import foreign_error
from localllm.hub.gguf.tensors import read_tensors
from localllm.hub.gguf.types import ARRAY, STRING, VALUE_FORMATS, VALUE_TYPES
from localllm.units import MiB

MAGIC = b"GGUF"
MAX_KV = 65_536
MAX_TENSORS = 65_536
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
KEPT_IN_ALL_BYTES = 32 * MiB
"""Roughly, as Python objects. Real files stay under one MiB."""

_U32_TYPE = 4


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
    spans: Mapping[str, tuple[int, int]]
    """Where each key lies in the file with its type and value: first byte, and byte behind."""
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


def parse_header(
    read_at: ReadAt,
    size: int,
    *,
    known_ends: Mapping[tuple[int, int], int] | None = None,
    keep_ends: Callable[[Mapping[tuple[int, int], int]], None] | None = None,
) -> GGUFHeader:
    """Parse the header of a file of ``size`` bytes. Raises GGUFError and what ``read_at`` does.

    ``known_ends``: where long arrays of strings end, from an earlier parse of the same bytes, which
    gave it to ``keep_ends`` (``gguf/walks.py``).
    """
    start = read_at(0, min(size, 24), min(size, 512))
    if size < 24 or not start.startswith(MAGIC):
        raise foreign_error(start, size)
    cursor = Cursor(read_at, size, known_ends or {})
    cursor.skip(len(MAGIC))
    version = _version(cursor)
    n_tensors = cursor.number(I64, "the number of tensors")
    n_kv = cursor.number(I64, "the number of metadata keys")
    if n_kv < 0 or n_kv * 13 > size:
        raise cursor.error(f"{n_kv:,} metadata keys cannot be in {size:,} bytes")
    if n_tensors < 0 or n_tensors * 24 > size:
        raise cursor.error(f"{n_tensors:,} tensors cannot be in {size:,} bytes")
    if n_tensors > MAX_TENSORS or n_kv > MAX_KV:
        raise cursor.error(f"{n_tensors:,} tensors and {n_kv:,} metadata keys are no model's")
    metadata = _Metadata(cursor)
    for _ in range(n_kv):
        metadata.read_one()
    tensors, data_offset = read_tensors(cursor, n_tensors, metadata.alignment)
    if keep_ends is not None:
        keep_ends(cursor.ends)
    return GGUFHeader(
        version=version,
        metadata=metadata.values,
        arrays=metadata.arrays,
        spans=metadata.spans,
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


class _Metadata:
    """The keys and values, read one after the other within a budget of memory."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._n_key_bytes = 0
        self._n_left = KEPT_IN_ALL_BYTES
        self.values: dict[str, MetadataValue] = {}
        self.arrays: dict[str, ArrayRef] = {}
        self.spans: dict[str, tuple[int, int]] = {}
        self.alignment = 32

    def read_one(self) -> None:
        """Read a key and its value."""
        cursor = self._cursor
        start = cursor.offset
        key = self._key()
        what = f'the value of "{printable(key[:64])}"'
        kind = cursor.number(I32, what)
        if kind == ARRAY:
            self._array(key, what)
        elif kind == STRING:
            self._string(key, what)
        elif kind in VALUE_FORMATS:
            self.values[key] = cursor.numbers(VALUE_FORMATS[kind], 1, what)[0]
        else:
            raise cursor.error(f"{what} has the unknown type {kind}", hint=NEWER)
        self.spans[key] = (start, cursor.offset)
        if key == "general.alignment":
            self.alignment = _alignment(cursor, kind, self.values.get(key))

    def _key(self) -> str:
        cursor = self._cursor
        raw = cursor.string_bytes(MAX_KEY_BYTES, "a metadata key")
        try:
            key = raw.decode()
        except UnicodeDecodeError:
            raise cursor.error("a metadata key is not UTF-8") from None
        if not key:
            raise cursor.error("a metadata key is empty")
        if key in self.spans:
            raise cursor.error(f'the metadata key "{printable(key[:64])}" occurs twice')
        self._n_key_bytes += len(raw)
        if self._n_key_bytes > KEPT_BYTES:
            raise cursor.error("the metadata keys are longer than any model's")
        return key

    def _affords(self, n_bytes: int) -> bool:
        """Whether the budget covers an object of this size, which is then taken off it."""
        if n_bytes > self._n_left:
            return False
        self._n_left -= n_bytes
        return True

    def _string(self, key: str, what: str) -> None:
        cursor = self._cursor
        is_template = key.startswith("tokenizer.chat_template")
        n = cursor.string_length(MAX_TEMPLATE_BYTES if is_template else MAX_STRING_BYTES, what)
        if n <= KEPT_BYTES and self._affords(n):
            self.values[key] = cursor.text(n, what)
        else:
            self.arrays[key] = ArrayRef(type="string", n=1, offset=cursor.offset, n_bytes=n)
            cursor.skip(n)

    def _array(self, key: str, what: str) -> None:
        cursor = self._cursor
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
        keep = n <= KEPT_ELEMENTS and self._affords(n * 40)
        if kind == STRING:
            self._strings(key, n if keep else 0, n, what)
        elif keep:
            self.values[key] = cursor.numbers(VALUE_FORMATS[kind], n, what)
        else:
            cursor.skip(n * n_each)
        self.arrays[key] = ArrayRef(type=name, n=n, offset=start, n_bytes=cursor.offset - start)

    def _strings(self, key: str, n_kept: int, n: int, what: str) -> None:
        """Keep the next ``n`` strings, or pass over them when they are too much to keep."""
        cursor = self._cursor
        kept: list[str] = []
        while len(kept) < n_kept:
            length = cursor.string_length(MAX_STRING_BYTES, what)
            if length > KEPT_BYTES or not self._affords(length):
                cursor.skip(length)
                cursor.skip_strings(n - len(kept) - 1, what)
                return
            kept.append(cursor.text(length, what))
        if len(kept) == n:
            self.values[key] = tuple(kept)
        else:
            cursor.skip_strings(n, what)


def _alignment(cursor: Cursor, kind: int, value: MetadataValue | None) -> int:
    if kind != _U32_TYPE or not isinstance(value, int):
        raise cursor.error("general.alignment is not an unsigned 32-bit number")
    if not 0 < value <= MAX_ALIGNMENT or value & (value - 1):
        raise cursor.error(f"an alignment of {value:,} bytes is not a power of two up to 2^20")
    return value
