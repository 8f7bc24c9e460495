"""The growing file of one content: what is in it, what is added, and whether it is right.

Bytes are put at their own place and never behind the size that the file will have, so whatever an
earlier run left, and whoever left it, the file is what its hash says or it is set aside. The disk
begins to write while the rest comes: the wait at the end is short, and a power cut takes little.
ext4, XFS and btrfs give a file no length that its data has not reached; where another does, the
hash finds it out, and all is fetched again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from localllm.hub.background import Stopped
from localllm.hub.download.disk_errors import disk_error
from localllm.hub.download.threads import awaited
from localllm.hub.download.writeback import begin_writing
from localllm.units import MiB

KEPT = "What came is kept."
BEGIN_BYTES = 32 * MiB
"""Written between two hints to the disk: 1 GiB from loopback then waits 0.01 s at its end, without
them 0.5 s (five in turns, virtual disk, ext4); a slow disk far longer."""
_READ_BYTES = MiB
_SHA256_DIGITS = 64
_NO_FSYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})
_MOST_REFUSED = 100
"""Writes in a row that take nothing and give no reason."""
_LINKED = frozenset({errno.ELOOP, errno.EMLINK})  # O_NOFOLLOW at a link; the second on BSD


class Part:
    """A file that will hold ``n_bytes`` and hash to ``etag``; open from the start, use ``with``."""

    def __init__(self, path: Path, *, aside: Path, n_bytes: int, etag: str) -> None:
        """Open or make it. What cannot be one is moved to ``aside``. Raises LocalLLMError.

        ``etag``: 64 hexadecimal digits of the SHA-256, or 40 of what git names a file by.
        """
        self._path = path
        self._aside = aside
        self._n_bytes = n_bytes
        self._etag = etag
        self._descriptor = _opened(path, aside, n_bytes)
        self.restart()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    @property
    def n_hashed(self) -> int:
        """How many bytes, from the first on, are here and counted in the hash."""
        return self._n_hashed

    @property
    def is_whole(self) -> bool:
        """Whether all bytes are here, right or wrong."""
        return self._n_hashed == self._n_bytes

    @property
    def digest(self) -> str:
        """What the bytes hash to so far."""
        return self._hash.hexdigest()

    @property
    def is_right(self) -> bool:
        """Whether the file is what its name says."""
        try:
            n_on_disk = os.fstat(self._descriptor).st_size
        except OSError:
            return False
        return self.is_whole and n_on_disk == self._n_bytes and self.digest == self._etag

    def restart(self) -> None:
        """Begin to write and to hash at the first byte; what is there stays until written over."""
        self._n_hashed = self._n_begun = 0
        if len(self._etag) == _SHA256_DIGITS:
            self._hash = hashlib.sha256()
        else:  # git hashes a header along: kind and size of the object
            self._hash = hashlib.sha1(b"blob %d\0" % self._n_bytes, usedforsecurity=False)

    def catch_up(self, stop: threading.Event, on_bytes: Callable[[], None]) -> None:
        """Hash what is in the file behind the bytes hashed so far. Raises Stopped.

        A byte that the disk does not give back is one that has to be fetched again.
        """
        while self._n_hashed < self._n_bytes:
            if stop.is_set():
                raise Stopped
            n_wanted = min(_READ_BYTES, self._n_bytes - self._n_hashed)
            try:
                data = os.pread(self._descriptor, n_wanted, self._n_hashed)
            except OSError:
                return
            if not data:
                return
            self._hash.update(data)
            self._n_hashed += len(data)
            on_bytes()

    def write(self, data: bytes) -> None:
        """Add the next bytes; what would go beyond the file's size is left out.

        Raises LocalLLMError; what is written by then is kept.
        """
        data = data[: self._n_bytes - self._n_hashed]
        left = memoryview(data)
        n_refused = 0
        while left:
            place = self._n_hashed + len(data) - len(left)
            try:
                n_written = os.pwrite(self._descriptor, left, place)
            except OSError as error:
                raise disk_error(error, self._path, then=KEPT) from None
            n_refused = 0 if n_written else n_refused + 1
            if n_refused > _MOST_REFUSED:
                raise disk_error(OSError(errno.EIO, ""), self._path, then=KEPT)
            left = left[n_written:]
        self._hash.update(data)
        self._n_hashed += len(data)
        n_new = self._n_hashed - self._n_begun
        if n_new >= BEGIN_BYTES:
            begin_writing(self._descriptor, self._n_begun, n_new)
            self._n_begun = self._n_hashed

    def sync(self, stop: threading.Event) -> None:
        """Wait until the disk has it. Raises Stopped, and LocalLLMError where the disk fails.

        After such a failure the kernel takes its copy for written though the disk has not got it
        (https://lwn.net/Articles/752063/): the file is removed, for no later reading of it proves
        anything.
        """
        descriptor = os.dup(self._descriptor)  # flushing may go on after everyone has left

        def flush() -> None:
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

        try:
            awaited(flush, stop)
        except OSError as error:
            if error.errno in _NO_FSYNC:
                return
            with suppress(OSError):
                self._path.unlink()
            raise disk_error(
                error, self._path, then="Nobody can tell what the disk has of it: it was removed."
            ) from None

    def finish(self, blob: Path) -> bool:
        """Give the file its final name, and leave it for reading only. Raises LocalLLMError.

        False where it is gone: somebody else has removed it, or has set it aside.
        """
        try:
            os.rename(self._path, blob)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise disk_error(error, blob, then=KEPT) from None
        # After the rename: a part that its owner may not open for writing could not go on.
        with suppress(OSError):
            os.fchmod(self._descriptor, stat.S_IMODE(os.fstat(self._descriptor).st_mode) & 0o444)
        sync_folder(blob.parent)
        return True

    def set_aside(self) -> None:
        """Keep it as evidence, under a name that nobody takes for the file."""
        set_aside(self._path, self._aside)


def set_aside(path: Path, aside: Path) -> None:
    """Move what lies at ``path``, a link itself and not what it leads to. Raises LocalLLMError."""
    try:
        os.replace(path, aside)
    except FileNotFoundError:
        return
    except OSError as error:
        raise disk_error(error, path, what="moved aside") from None


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder, where the file system can tell."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _opened(path: Path, aside: Path, n_bytes: int) -> int:
    """Open or make a part: a file of our own with one name, no longer than it will be."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    for is_last in (False, True):
        try:
            descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            foreign = error.errno in _LINKED | {errno.EISDIR, errno.ENXIO, errno.EACCES}
            if is_last or not (foreign and os.path.lexists(path)):
                raise disk_error(error, path) from None
        else:
            status = os.fstat(descriptor)
            if (
                stat.S_ISREG(status.st_mode)
                and status.st_uid == os.geteuid()
                and status.st_nlink == 1
                and status.st_size <= n_bytes
            ):
                return descriptor
            os.close(descriptor)
            if is_last:
                raise disk_error(OSError(errno.EACCES, ""), path)
        set_aside(path, aside)
    raise AssertionError("the second turn returns or raises")
