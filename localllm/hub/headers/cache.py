"""Headers of remote files, kept: stored by their SHA-256, found by the address they came from.

``urls/<hash of the address>.json`` says which blob, the size of the file, and what the server
called this version of it (ETag, date); ``blobs/<sha-256>`` are the bytes. Nothing read from here
is believed: a blob is hashed each time, and what does not agree is removed. Files appear under
their names complete, so several processes may share the folder; where it cannot be written there
is no cache, and no error either.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from localllm.hub.cache_layout import SHA256
from localllm.hub.small_files import read_json, write_whole
from localllm.system.folders import own_folder
from localllm.units import MiB

MAX_BYTES = 512 * MiB
"""Some 60 headers with a vocabulary of 128,256 tokens."""
MAX_ENTRIES = 2000
_SCHEMA = "localllm.header/1"
_ABANDONED_S = 3600
_MAX_ENTRY_BYTES = 8192
_LATEST_S = 1e11
"""The year 5138: a time that every system can write as a date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedHeader:
    """A header, and which file it was the header of."""

    data: bytes
    file_bytes: int
    etag: str | None
    last_modified: str | None
    stored_at_s: float
    """Seconds since 1970."""

    @property
    def can_be_checked(self) -> bool:
        """Whether the server named the version, so that it can be asked whether it still stands."""
        return self.etag is not None or self.last_modified is not None


class _Entry(NamedTuple):
    sha256: str
    header_bytes: int
    file_bytes: int
    etag: str | None
    last_modified: str | None
    stored_at_s: float


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the cache folder, which may not exist: ``LOCALLLM_CACHE_DIR``, or the system's."""
    return own_folder("cache", environ)


class HeaderCache:
    """The headers in one folder."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        """Use ``folder``, which is made when something is first stored."""
        self._urls = folder / "urls"
        self._blobs = folder / "blobs"
        self._max_bytes = max_bytes

    def get(self, url: str) -> CachedHeader | None:
        """Return what was stored for an address; None where there is nothing, or it is damaged."""
        path = self._entry_path(url)
        try:
            entry = _entry(read_json(path, _MAX_ENTRY_BYTES))
        except OSError:
            return None
        except ValueError:
            entry = None
        if entry is None:
            _remove(path)
            return None
        blob = self._blobs / entry.sha256
        try:
            if blob.stat().st_size != entry.header_bytes:
                raise ValueError("another size")
            data = blob.read_bytes()
        except OSError:
            return None  # evicted
        except ValueError:
            data = b""
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            _remove(blob)
            _remove(path)
            return None
        with suppress(OSError):
            os.utime(blob)  # the least recently used goes first
        return CachedHeader(
            data=data,
            file_bytes=entry.file_bytes,
            etag=entry.etag,
            last_modified=entry.last_modified,
            stored_at_s=entry.stored_at_s,
        )

    def put(
        self,
        url: str,
        data: bytes,
        *,
        file_bytes: int,
        etag: str | None,
        last_modified: str | None,
        shown: str,
    ) -> bool:
        """Store a header; returns whether it could be. ``shown`` is the address without secrets."""
        if len(data) > self._max_bytes:
            return False
        digest = hashlib.sha256(data).hexdigest()
        entry = _Entry(
            sha256=digest,
            header_bytes=len(data),
            file_bytes=file_bytes,
            etag=etag,
            last_modified=last_modified,
            stored_at_s=round(time.time(), 3),
        )
        fields = {"schema": _SCHEMA, "url": shown, **entry._asdict()}
        text = json.dumps(fields, indent=1).encode()
        if len(text) > _MAX_ENTRY_BYTES:
            return False
        try:
            write_whole(self._blobs / digest, data)
            write_whole(self._entry_path(url), text)
        except OSError:
            return False
        self._evict(keep=digest)
        return True

    def _entry_path(self, url: str) -> Path:
        return self._urls / f"{hashlib.sha256(url.encode()).hexdigest()}.json"

    def _evict(self, *, keep: str) -> None:
        """Remove the least recently used blobs beyond the limit, and what others left behind."""
        blobs = _files(self._blobs)
        n_left = sum(size for _, size, _ in blobs)
        for _, size, path in sorted(blobs):
            if n_left <= self._max_bytes:
                break
            if path.name != keep:
                _remove(path)
                n_left -= size
        entries = sorted(_files(self._urls))
        for _, _, path in entries[: max(len(entries) - MAX_ENTRIES, 0)]:
            _remove(path)


def _entry(fields: Any) -> _Entry | None:
    """An entry whose fields are what they should be; else None."""
    try:
        if fields.pop("schema") != _SCHEMA:
            return None
        del fields["url"]
        entry = _Entry(**fields)
    except (AttributeError, KeyError, TypeError):
        return None
    names = (entry.etag, entry.last_modified)
    if (
        isinstance(entry.sha256, str)
        and SHA256.fullmatch(entry.sha256)
        and type(entry.header_bytes) is int
        and type(entry.file_bytes) is int
        and 0 < entry.header_bytes <= entry.file_bytes < 2**63
        and all(name is None or isinstance(name, str) for name in names)
        and type(entry.stored_at_s) in (int, float)
        and 0 <= entry.stored_at_s < _LATEST_S
    ):
        return entry
    return None


def _files(folder: Path) -> list[tuple[float, int, Path]]:
    """Time of last use, size and path of each file; abandoned temporary ones are removed."""
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if not entry.name.startswith("."):
                    found.append((status.st_mtime, status.st_size, Path(entry.path)))
                elif time.time() - status.st_mtime > _ABANDONED_S:
                    _remove(Path(entry.path))
    return found


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
