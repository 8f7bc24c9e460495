"""A model on a server, known by its header: enough for a plan, a few MiB of a file of many GiB.

The header is fetched by HTTP Range, as much as the parser asks for, and kept in the header cache.
A later plan asks the server for one byte, to learn whether the file is still the same; without a
network the stored header serves, and the model's notes say so. Of a split model all parts are read.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

from localllm.core.model import ModelSpec
from localllm.core.text import printable
from localllm.errors import GGUFError, NotFoundError, UsageError
from localllm.hub.background import run_all
from localllm.hub.gguf.hollow import bare_header, write_bare, write_verbatim
from localllm.hub.gguf.parser import GGUFHeader, NeedMoreError, parse_buffer
from localllm.hub.gguf.split import first_name, is_split, merge, model_stem, part_names
from localllm.hub.gguf.writer import WrittenHeader
from localllm.hub.headers.cache import CachedHeader, HeaderCache, cache_dir
from localllm.hub.headers.http_range import Patience, RangeReader, Version, same_version
from localllm.hub.http_refusals import (
    ChangedError,
    UnreachableError,
    remote_gguf_error,
    unreachable,
)
from localllm.hub.remote_url import RemoteFile, is_offline, remote_file
from localllm.hub.spec.model_spec import model_spec
from localllm.units import KiB, MiB, format_bytes

FIRST_PARSE_BYTES = 64 * KiB
"""A header without a vocabulary is smaller; with one, it is tried again at each half more."""
MAX_HEADER_BYTES = 64 * MiB
"""The largest known headers, of 262,144-token vocabularies, have 16 to 30 MiB."""
MAX_PARTS = 512
N_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How far the reading of a header is."""

    n_bytes: int
    """Received so far, of all parts together."""
    waiting_for: str | None = None
    """Why nothing comes for the moment, as the end of a sentence; None while it comes."""


OnReading = Callable[[Reading], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel:
    """A model whose header is here and whose weights are on a server."""

    name: str
    """The file's name without its ending."""
    url: str
    """Where it is, safe to print."""
    spec: ModelSpec
    parts: tuple[WrittenHeader, ...] = field(repr=False)
    """The header of each part, and that part's size."""
    header: GGUFHeader = field(repr=False, compare=False)
    """The first part's, with the tensors of all."""
    notes: tuple[str, ...] = ()
    """What a person should know of where this comes from; each a sentence."""
    n_fetched_bytes: int = 0
    """What was transferred for it this time."""
    recorded: ClassVar[bool] = False
    """Whether only its shape is known, from our own records."""

    def header_files(self, folder: Path, *, vocabulary: bool) -> tuple[Path, ...]:
        """Write hollow files that llama.cpp can dry-run: every part, or one without vocabulary.

        Raises NoHolesError where that cannot be.
        """
        if vocabulary:
            return write_verbatim(folder, self.parts)
        data = self.parts[0].data
        bare = bare_header(
            self.header,
            n_vocab=self.spec.n_vocab,
            read_span=lambda start, end: data[start:end],
        )
        return write_bare(folder, bare)


def remote_model(
    address: str,
    *,
    on_reading: OnReading = lambda reading: None,
    environ: Mapping[str, str] = os.environ,
    cache: HeaderCache | None = None,
    patience: Patience | None = None,
) -> RemoteModel:
    """Read the header of the model at an address, of all its parts if it has several.

    ``on_reading`` is called about ten times a second, from this thread. Raises UsageError (exit 2)
    for no address of a model file, AccessError (4), NotFoundError (5) for one that is not there or
    not reachable, GGUFError or IntegrityError (7) for what is no model or not sent faithfully.
    """
    given = remote_file(address, environ)
    if cache is None:
        cache = HeaderCache(cache_dir(environ) / "headers")
    fetch = _Fetch(cache, is_offline(environ), on_reading, patience or Patience())
    first_file = given.with_name(first_name(given.name)) if _is_later_part(given) else given
    (first,) = fetch.headers([first_file])
    if first_file is not given and not is_split(first.header):
        raise GGUFError(
            f"{printable(given.name)} is named as a part of a split model, but"
            f" {printable(first_file.name)} says nothing of parts.",
            hint="Pass the address of the whole model, or of parts under their original names.",
        )
    names = part_names(first_file.name, first.header)
    if len(names) > MAX_PARTS:
        raise GGUFError(
            f"{printable(first_file.name)} claims to have {len(names):,} parts.",
            hint="Use another source.",
        )
    others = fetch.headers([first_file.with_name(name) for name in names[1:]])
    parts = [first, *others]
    header = merge(names, [part.header for part in parts])
    try:
        stem = model_stem(Path(first_file.name))
        spec = model_spec(header, source=first_file.shown, stem=stem)
    except GGUFError as error:
        raise remote_gguf_error(first_file, error) from None
    except UsageError as error:
        raise UsageError(
            f"{printable(first_file.name)}: {error.message}", hint=error.hint
        ) from None
    return RemoteModel(
        name=stem,
        url=first_file.shown,
        spec=spec,
        parts=tuple(
            WrittenHeader(data=part.data, file_bytes=part.header.file_bytes) for part in parts
        ),
        header=header,
        notes=tuple(dict.fromkeys(part.note for part in parts if part.note)),
        n_fetched_bytes=fetch.n_bytes,
    )


def _is_later_part(file: RemoteFile) -> bool:
    return first_name(file.name) != file.name


class _Part(NamedTuple):
    data: bytes
    """From the magic to where the tensor data begin."""
    header: GGUFHeader
    note: str | None = None


class _Fetch:
    """The reading of one model's headers."""

    def __init__(
        self, cache: HeaderCache, offline: bool, on_reading: OnReading, patience: Patience
    ) -> None:
        self._cache = cache
        self._offline = offline
        self._on_reading = on_reading
        self._patience = patience
        self._lock = threading.Lock()
        self._waits: dict[int, str] = {}
        self.n_bytes = 0

    def headers(self, files: list[RemoteFile]) -> list[_Part]:
        """Read the headers of several files, a few at once. Raises what ``remote_model`` says."""
        if not files:
            return []
        stop = threading.Event()
        return run_all(
            [partial(self._part, file, stop) for file in files],
            limit=N_AT_ONCE,
            stop=stop,
            tick=self._tell,
            deadline_s=self._patience.deadline_s,
            overdue=lambda: unreachable(files[0], "the server is too slow"),
        )

    def _part(self, file: RemoteFile, stop: threading.Event) -> _Part:
        try:
            return self._from_cache_or_server(file, stop)
        except GGUFError as error:
            raise remote_gguf_error(file, error) from None

    def _from_cache_or_server(self, file: RemoteFile, stop: threading.Event) -> _Part:
        stored = self._cache.get(file.url)
        if self._offline:
            if stored is None:
                raise NotFoundError(
                    f"The header of {file.shown} is not here, and there is to be no network"
                    " (HF_HUB_OFFLINE).",
                    hint="Plan it once with a network, or pass the path of a file that is here.",
                )
            return _stored_part(stored, "HF_HUB_OFFLINE is set")
        try:
            if stored is not None and stored.can_be_checked:
                # with a header at hand, a network that is half dead is not worth a long wait
                hasty = replace(self._patience, n_tries=2, timeout_s=self._patience.timeout_s / 2)
                reader = self._reader(file, stop, hasty)
                reader.read(0, 1)
                if reader.version is not None and _is_of(stored, reader.version):
                    return _stored_part(stored)
            try:
                return self._from_server(file, stop)
            except ChangedError:  # an upload has just ended: the new file, from its start
                return self._from_server(file, stop)
        except UnreachableError:
            if stored is None:
                raise
            return _stored_part(stored, "its server cannot be reached")

    def _from_server(self, file: RemoteFile, stop: threading.Event) -> _Part:
        reader = self._reader(file, stop)
        data = bytearray()
        n_enough = FIRST_PARSE_BYTES
        header = version = None
        # one request, left when the header is complete: a new connection costs more than what is
        # still on its way then
        with closing(reader.stream(0, MAX_HEADER_BYTES)) as pieces:
            for piece in pieces:
                data += piece
                version = reader.version
                assert version is not None
                if len(data) < min(n_enough, version.file_bytes, MAX_HEADER_BYTES):
                    continue
                try:
                    header = parse_buffer(bytes(data), version.file_bytes)
                    break
                except NeedMoreError as error:
                    n_enough = max(error.needed_bytes, len(data) * 3 // 2)
                    if error.needed_bytes > MAX_HEADER_BYTES:
                        break
        if header is None or version is None:
            raise GGUFError(f"the header is larger than {format_bytes(MAX_HEADER_BYTES)}.")
        data_to_keep = bytes(data[: header.data_offset])
        self._cache.put(
            file.url,
            data_to_keep,
            file_bytes=version.file_bytes,
            etag=version.etag,
            last_modified=version.last_modified,
            shown=file.shown,
        )
        return _Part(data_to_keep, header)

    def _reader(
        self, file: RemoteFile, stop: threading.Event, patience: Patience | None = None
    ) -> RangeReader:
        key = threading.get_ident()

        def on_bytes(n: int) -> None:
            with self._lock:
                self.n_bytes += n

        def on_wait(reason: str | None) -> None:
            with self._lock:
                if reason is None:
                    self._waits.pop(key, None)
                else:
                    self._waits[key] = reason

        return RangeReader(
            file, stop=stop, on_bytes=on_bytes, on_wait=on_wait, patience=patience or self._patience
        )

    def _tell(self) -> None:
        with self._lock:
            reading = Reading(
                n_bytes=self.n_bytes, waiting_for=next(iter(self._waits.values()), None)
            )
        self._on_reading(reading)


def _stored_part(stored: CachedHeader, why: str | None = None) -> _Part:
    """A stored header; ``why`` it is used unchecked."""
    header = parse_buffer(stored.data, stored.file_bytes)
    if why is None:
        return _Part(stored.data, header)
    day = time.strftime("%Y-%m-%d", time.localtime(stored.stored_at_s))
    return _Part(stored.data, header, f"The header is the one stored on {day}: {why}.")


def _is_of(stored: CachedHeader, version: Version) -> bool:
    """Whether a stored header is of this version of the file."""
    known = Version(
        file_bytes=stored.file_bytes, etag=stored.etag, last_modified=stored.last_modified
    )
    names_agree = any(
        a is not None and a == b
        for a, b in ((known.etag, version.etag), (known.last_modified, version.last_modified))
    )
    return names_agree and same_version(known, version)
