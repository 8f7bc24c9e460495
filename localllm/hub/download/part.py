"""The growing file of one content: what is in it, what is added, and whether it is right.

Bytes are put at their own place and never behind the size that the file will have, so whatever an
earlier run left, and whoever left it, the file is what its hash says or it is set aside. The disk
begins to write while the rest comes: the wait at the end is short, and a power cut takes little.
ext4, XFS and btrfs give a file no length that its data has not reached; where another does, the
hash finds it out, and all is fetched again.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from localllm.hub.background import Stopped
from localllm.hub.download.disk_errors import disk_error
from localllm.hub.download.hashing import READ_BYTES, hash_for
from localllm.hub.download.threads import awaited
from localllm.hub.download.writeback import begin_writing
from localllm.units import MiB

KEPT = "What came is kept."
BEGIN_BYTES = 32 * MiB
"""Written between two hints to the disk: 1 GiB from loopback then waits 0.01 s at its end, without
them 0.5 s (five in turns, virtual disk, ext4); a slow disk far longer."""
_NO_FSYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})
_MOST_REFUSED = 100
"""Writes in a row that take nothing and give no reason."""
_MOST_OPENED = 3
"""Once, again behind one that was moved aside, and once more for another process in between."""
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
        self._hash = hash_for(self._etag, self._n_bytes)

    def catch_up(self, stop: threading.Event, on_bytes: Callable[[], None]) -> None:
        """Hash what is in the file behind the bytes hashed so far. Raises Stopped.

        A byte that the disk does not give back is one that has to be fetched again.
        """
        while self._n_hashed < self._n_bytes:
            if stop.is_set():
                raise Stopped
            n_wanted = min(READ_BYTES, self._n_bytes - self._n_hashed)
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
    """Make a part, or open the one that is there: a file with one name, no longer than it will be.

    One that is made here is nobody else's, whatever owner the file system states.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
    for _ in range(_MOST_OPENED):
        try:
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            pass
        except OSError as error:
            raise disk_error(error, path) from None
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:  # taken away in this moment
            continue
        except OSError as error:
            if error.errno not in _LINKED | {errno.EISDIR, errno.ENXIO, errno.EACCES}:
                raise disk_error(error, path) from None
        else:
            if _can_go_on(os.fstat(descriptor), path.parent, n_bytes):
                return descriptor
            os.close(descriptor)
        set_aside(path, aside)
    raise disk_error(OSError(errno.EACCES, ""), path)


def _can_go_on(status: os.stat_result, folder: Path, n_bytes: int) -> bool:
    """Whether a file that was there can be a part of ours, which nobody else writes to."""
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_size > n_bytes:
        return False
    return status.st_uid == os.geteuid() or status.st_uid == _owner_of_new(folder)


def _owner_of_new(folder: Path) -> int | None:
    """Whose a file is that is made in a folder; None where none can be made.

    Servers may state another owner than us for what we write (``all_squash`` of NFS, ``uid=`` of
    CIFS).
    """
    path = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return None
    try:
        return os.fstat(descriptor).st_uid
    finally:
        os.close(descriptor)
        with suppress(OSError):
            path.unlink()
