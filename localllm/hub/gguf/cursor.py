"""A position in a file that is not trusted, and a small window of its bytes that moves along.

Every length is checked against the true size of the file before anything is read or passed over, so
that no claim of the file costs memory or time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from localllm.errors import GGUFError
from localllm.units import MiB, format_bytes

WINDOW_BYTES = 256 * 1024
MAX_HEADER_BYTES = 256 * MiB
"""The largest known headers, of 262,144-token vocabularies, have 16 to 30 MiB."""
MAX_STRING = 2**30
"""ggml's own limit, in bytes."""

LONG = 10_000
"""Strings of an array whose end is worth remembering: a millisecond's walk."""

DAMAGED = "The file is damaged or incomplete: download it again."
INCOMPLETE = "The download is probably incomplete: let it finish, or download the file again."
NEWER = "The file is newer than this version of localllm: update localllm, or use another file."
OLD = "The file is too old for llama.cpp: get a newer one of the same model."

U32 = struct.Struct("<I")
I32 = struct.Struct("<i")
U64 = struct.Struct("<Q")
I64 = struct.Struct("<q")

ReadAt = Callable[[int, int, int], bytes]
"""``read_at(offset, n_min, n_max)``: from ``n_min`` to ``n_max`` bytes of the file, or an error."""


class Cursor:
    """A position in the file, and a window of bytes that moves along with it."""

    __slots__ = ("_base", "_buffer", "_known_ends", "_position", "_read_at", "ends", "size")

    def __init__(
        self, read_at: ReadAt, size: int, known_ends: Mapping[tuple[int, int], int]
    ) -> None:
        self._read_at = read_at
        self._known_ends = known_ends
        self.ends: dict[tuple[int, int], int] = {}
        """Where long arrays of strings end, by where they begin and their number."""
        self.size = size
        self._buffer = b""
        self._base = 0
        self._position = 0

    @property
    def offset(self) -> int:
        """Where the position is, in bytes from the start of the file."""
        return self._base + self._position

    @property
    def remaining(self) -> int:
        """Bytes between the position and the end of the file."""
        return self.size - self.offset

    def error(self, message: str, *, hint: str = DAMAGED) -> GGUFError:
        """An error that names the place."""
        return GGUFError(f"{message} (at byte {self.offset:,}).", offset=self.offset, hint=hint)

    def skip(self, n: int) -> None:
        """Pass over ``n`` bytes; that they exist has been checked."""
        self._position += n

    def take(self, n: int, what: str) -> int:
        """Make the next ``n`` bytes present, pass over them, return where they start."""
        position = self._position
        if position + n > len(self._buffer):
            offset = self.offset
            if offset + n > self.size:
                raise self.error(f"{what} runs past the end of the file", hint=INCOMPLETE)
            if offset + n > MAX_HEADER_BYTES:
                raise self.error(f"the header is larger than {format_bytes(MAX_HEADER_BYTES)}")
            n_max = min(max(n, WINDOW_BYTES), self.size - offset)
            self._buffer = self._read_at(offset, n, n_max)
            self._base, position = offset, 0
        self._position = position + n
        return position

    def number(self, layout: struct.Struct, what: str) -> int:
        """Read one integer; ``what`` names it in errors."""
        position = self.take(layout.size, what)
        value: int = layout.unpack_from(self._buffer, position)[0]
        return value

    def string_bytes(self, limit: int, what: str) -> bytes:
        """Read a string of at most ``limit`` bytes."""
        n = self.string_length(limit, what)
        position = self.take(n, what)
        return self._buffer[position : position + n]

    def string_length(self, limit: int, what: str) -> int:
        """Read and check the length of a string, leaving the position at its first byte."""
        n = self.number(U64, what)
        if n > self.remaining:
            raise self.error(f"{what} of {n:,} bytes runs past the end of the file")
        if n > limit:
            raise self.error(f"{what} of {n:,} bytes is longer than the {limit:,} bytes allowed")
        return n

    def text(self, n: int, what: str) -> str:
        """Read ``n`` bytes as text; what is not UTF-8 is replaced."""
        position = self.take(n, what)
        return self._buffer[position : position + n].decode(errors="replace")

    def numbers(self, code: str, n: int, what: str) -> tuple[int | float | bool, ...]:
        """Read ``n`` numbers of one ``struct`` format."""
        layout = struct.Struct(f"<{n}{code}")
        position = self.take(layout.size, what)  # first: it may replace the buffer
        return layout.unpack_from(self._buffer, position)

    def skip_strings(self, n: int, what: str) -> None:
        """Pass over ``n`` strings by their lengths, 0.1 us each, or at once where it was done."""
        begin = self.offset
        end = self._known_ends.get((begin, n)) if n >= LONG else None
        if end is not None and begin + 8 * n <= end <= self.size:
            self.skip(end - begin)
        else:
            self._walk_strings(n, what)
        if n >= LONG:
            self.ends[begin, n] = self.offset

    def _walk_strings(self, n: int, what: str) -> None:
        unpack = U64.unpack_from
        n_done = 0
        while n_done < n:
            position, length = self.take(8, what), 0
            buffer = self._buffer
            try:
                while n_done < n:
                    length = unpack(buffer, position)[0]
                    position += 8 + length
                    n_done += 1
            except (struct.error, OverflowError):
                pass  # the next length is not in the window
            # a length that is absurd leaves the window, so only the last one read can be
            if length > MAX_STRING or self._base + position > self.size:
                raise self.error(f"a string of {length:,} bytes in {what} is impossible")
            self._position = position
