"""What a content hashes to, in the two ways by which the cache names one."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from localllm.hub.background import Stopped
from localllm.units import MiB

READ_BYTES = 1 * MiB
_SHA256_DIGITS = 64

HashKind = Literal["SHA-256", "git SHA-1"]


def kind_of_hash(etag: str) -> HashKind:
    """Return what a name of 64 or of 40 hexadecimal digits is."""
    return "SHA-256" if len(etag) == _SHA256_DIGITS else "git SHA-1"


def hash_for(etag: str, n_bytes: int) -> hashlib._Hash:
    """Return the hash, of no byte yet, that a content of ``n_bytes`` is named ``etag`` by."""
    if kind_of_hash(etag) == "SHA-256":
        return hashlib.sha256()
    # git hashes a header along: kind and size of the object
    return hashlib.sha1(b"blob %d\0" % n_bytes, usedforsecurity=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOnDisk:
    """One file, read from its first to its last byte."""

    n_bytes: int
    digest: str


def read_whole(
    path: Path, etag: str, *, stop: threading.Event, on_bytes: Callable[[int], None]
) -> FileOnDisk | None:
    """Read an ordinary file, at the end of its links, and hash it as ``etag`` wants it.

    ``on_bytes`` hears how many bytes are read by now. None for what is no ordinary file. Raises
    Stopped, and OSError where it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # of a pipe, nobody waits for a writer
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        found, n_read = hash_for(etag, status.st_size), 0
        while data := os.read(descriptor, READ_BYTES):
            if stop.is_set():
                raise Stopped
            found.update(data)
            n_read += len(data)
            on_bytes(n_read)
    finally:
        os.close(descriptor)
    return FileOnDisk(n_bytes=n_read, digest=found.hexdigest())
