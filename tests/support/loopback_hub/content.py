"""What a file on the loopback Hub holds: bytes, a file on the disk, or zeros that take no room.

Large content is never read whole: it goes from the disk to the socket by ``sendfile``, and its
hash is computed once, when somebody first asks for it.
"""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

SEND_BYTES = 8 * 1024**2
"""In one call of the system, so that a change of the rate or a closing server is soon noticed."""
_SMALL_BYTES = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Zeros:
    """A file of any size: ``head``, then zeros."""

    size: int
    head: bytes = b""
    sha256: str | None = None
    """Stated instead of computed: for a file so large that nobody reads it to its end."""


Source = bytes | Path | Zeros
"""What a test writes down as the content of a file."""


class Content:
    """The bytes of one file."""

    def __init__(self, source: Source) -> None:
        self._stated = source.sha256 if isinstance(source, Zeros) else None
        self._data: bytes | None = None
        self._file: BinaryIO | None = None
        if isinstance(source, bytes):
            self._data, self.size = source, len(source)
        elif isinstance(source, Path):
            self._file, self.size = source.open("rb"), source.stat().st_size
        else:
            self._file, self.size = _sparse(source), source.size
        self._hashing = threading.Lock()

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()

    @property
    def sha256(self) -> str:
        """Of the whole, in hexadecimal digits; what a large file is named by."""
        with self._hashing:
            return self._stated or self._sha256

    @property
    def git_sha1(self) -> str:
        """What git names it by."""
        with self._hashing:
            return self._git_sha1

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` up to ``end``."""
        if self._file is None:
            assert self._data is not None
            return self._data[start:end]
        return os.pread(self._file.fileno(), end - start, start)

    def send(self, to: socket.socket, start: int, end: int) -> None:
        """Send the bytes from ``start`` up to ``end``. Raises OSError when nobody listens."""
        if self._file is None:
            assert self._data is not None
            to.sendall(memoryview(self._data)[start:end])
            return
        while start < end:
            n_sent = os.sendfile(to.fileno(), self._file.fileno(), start, end - start)
            if not n_sent:
                raise EOFError("the file has become shorter")
            start += n_sent

    @cached_property
    def _sha256(self) -> str:
        return self._hash(hashlib.sha256())

    @cached_property
    def _git_sha1(self) -> str:
        return self._hash(hashlib.sha1(b"blob %d\0" % self.size))

    def _hash(self, hashed: hashlib._Hash) -> str:
        for start in range(0, self.size, _SMALL_BYTES):
            hashed.update(self.read(start, min(start + _SMALL_BYTES, self.size)))
        return hashed.hexdigest()


def _sparse(zeros: Zeros) -> BinaryIO:
    """A file without a name that takes no more room than its head."""
    fd, path = tempfile.mkstemp()
    os.unlink(path)
    os.pwrite(fd, zeros.head[: zeros.size], 0)
    os.truncate(fd, zeros.size)
    return os.fdopen(fd, "rb")
