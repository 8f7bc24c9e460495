"""The verified download of one file into the shared cache: resumed, locked, hashed, atomic.

A file appears under the name of its hash when its bytes have that hash, and not before. All that
goes wrong on the way ends in that file or in an error; what has come stays for the next run.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from localllm.core.fetching import FileState
from localllm.errors import IntegrityError, LocalLLMError
from localllm.hub.background import Stopped
from localllm.hub.cache_layout import RepoFolder, check_etag
from localllm.hub.download.disk_errors import disk_error
from localllm.hub.download.filesystems import is_networked, kind_of, largest_file_bytes
from localllm.hub.download.links import is_linked, place
from localllm.hub.download.locks import locked
from localllm.hub.download.own_part import own_part
from localllm.hub.download.part import Part, set_aside
from localllm.hub.download.patience import FetchPatience
from localllm.hub.download.space import check_space
from localllm.hub.download.threads import Receiver, awaited
from localllm.hub.download.tries import GaveUp, Tries
from localllm.hub.download.wanted import ExpiredLink, Source, WantedFile
from localllm.hub.http_refusals import Transient, UnreachableError
from localllm.hub.repo_files import FileMetadata
from localllm.units import format_bytes

N_ROUNDS = 2
"""Whole downloads, where the bytes of the first are wrong."""
_POLL_S = 0.2
_TELL_S = 0.05


def fetch_file(
    wanted: WantedFile,
    *,
    client: Source,
    root: Path,
    tell: Callable[[FileState], None],
    stop: threading.Event,
    patience: FetchPatience,
    note: Callable[[str], None] = lambda text: None,
    environ: Mapping[str, str] = os.environ,
) -> Path:
    """Fetch one file into the cache at ``root``; return where its revision has it.

    Asks nobody where the file is here. ``tell`` hears how far it is, about 20 times a second;
    ``note`` a sentence that a person should know, once. ``stop`` ends it within 0.2 s by Stopped.
    Everything that came stays, and the next call goes on there.

    Raises what the client does for a file that may not be had, UnreachableError (exit 5) after too
    many tries, IntegrityError (7) for a file that is another than the listing said or whose bytes
    are wrong twice, and LocalLLMError (1) for a disk that is full, failing or not to be written.
    """
    return _Fetch(wanted, client, root, tell, stop, patience, note, environ).run()


class _Fetch:
    """One call of ``fetch_file``."""

    def __init__(
        self,
        wanted: WantedFile,
        client: Source,
        root: Path,
        tell: Callable[[FileState], None],
        stop: threading.Event,
        patience: FetchPatience,
        note: Callable[[str], None],
        environ: Mapping[str, str],
    ) -> None:
        self._wanted = wanted
        self._client = client
        self._root = root
        self._folder = RepoFolder(root=root, repo=wanted.repo)
        self._snapshot = self._folder.snapshot(wanted.commit, wanted.path)
        self._etag = None if wanted.sha256 is None else check_etag(wanted.sha256)
        self._tell = tell
        self._told_at_s = 0.0
        self._state = FileState(path=wanted.path, n_bytes=wanted.n_bytes)
        self._stop = stop
        self._note = note
        self._environ = environ
        self._tries = Tries(patience, stop, on_wait=self._waits)
        self._location: str | None = None
        self._most = 0
        """Bytes of this round that have been here at once."""

    def run(self) -> Path:
        self._say()
        if is_linked(self._snapshot, self._etag, self._wanted.n_bytes):
            return self._done()
        if self._etag is not None and self._is_whole(self._etag):
            return self._linked(self._etag)
        try:
            etag = self._ask().etag
            if not self._is_whole(etag):
                self._fetch(etag)
        except GaveUp as error:
            raise self._gave_up(error.reason) from None
        return self._linked(etag)

    # ------------------------------------------------------------------ what the file is

    def _ask(self) -> FileMetadata:
        """Ask what the file is and where its bytes are, until there is an answer; check it."""
        wanted = self._wanted
        ask = partial(self._client.metadata, wanted.repo, wanted.commit, wanted.path)
        while True:
            try:
                metadata = awaited(ask, self._stop)
            except Transient as error:
                self._tries.failed(error)
                continue
            self._tries.reached()
            is_same = (
                metadata.commit == wanted.commit
                and metadata.n_bytes == wanted.n_bytes
                and self._etag in (None, metadata.etag)
            )
            if not is_same:
                raise IntegrityError(
                    f"{wanted.path} of {wanted.repo} changed on the Hub since it was listed.",
                    hint="Run the same command again: it looks at the repository anew.",
                )
            self._etag = check_etag(metadata.etag)
            self._location = metadata.location
            return metadata

    def _is_whole(self, etag: str) -> bool:
        """Whether the content is here with its size, at the end of its links."""
        blob = self._folder.blob(etag)
        try:
            return blob.is_file() and blob.stat().st_size == self._wanted.n_bytes
        except OSError:
            return False

    # ------------------------------------------------------------------ with its lock

    def _fetch(self, etag: str) -> None:
        """Get the content under its final name, unless another process does."""
        for folder in (self._folder.blobs, self._folder.snapshots):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise disk_error(error, folder) from None
        busy = partial(self._elsewhere, etag)
        with ExitStack() as stack:
            keeps_out = stack.enter_context(locked(self._folder.lock(etag), busy=busy))
            if self._is_whole(etag):
                return
            self._check_room()
            blob = self._folder.blob(etag)
            if blob.exists() and not blob.is_symlink():  # a link goes when the file is there
                set_aside(blob, self._folder.corrupt(etag))
            path = self._folder.part(etag)
            if not keeps_out or is_networked(kind_of(self._folder.blobs)):
                self._note(
                    f"Locks cannot be relied on in {self._root}: a download there that is killed"
                    " starts again from its beginning."
                )
                path = stack.enter_context(own_part(path))
            self._rounds(etag, path)

    def _elsewhere(self, etag: str, pid: int | None) -> None:
        """Another process has the lock: tell how far it is, and wait a moment."""
        who = "another process" if pid is None else f"another process ({pid})"
        if pid == os.getpid():
            who = "another download of this process"
        n_done = min(_growing_bytes(self._folder.blobs, etag), self._wanted.n_bytes)
        self._say(phase="elsewhere", n_done=n_done, waiting_for=f"{who} downloads it")
        if self._stop.wait(_POLL_S):
            raise Stopped

    def _check_room(self) -> None:
        check_space([replace(self._wanted, sha256=self._etag)], self._root)
        limit = largest_file_bytes(kind_of(self._folder.blobs))
        if limit is not None and self._wanted.n_bytes > limit:
            raise LocalLLMError(
                f"{self._wanted.path} has {format_bytes(self._wanted.n_bytes)}, and the file system"
                f" of {self._root} holds files of up to {format_bytes(limit)}.",
                hint="Name a folder on another disk with HF_HUB_CACHE.",
            )

    # ------------------------------------------------------------------ its bytes

    def _rounds(self, etag: str, path: Path) -> None:
        """Fill a part and give it its name; from the beginning again where its bytes are wrong."""
        blob, aside = self._folder.blob(etag), self._folder.corrupt(etag)
        found = ""
        for _ in range(N_ROUNDS):
            self._most = 0
            with Part(path, aside=aside, n_bytes=self._wanted.n_bytes, etag=etag) as part:
                self._fill(part)
                part.sync(self._stop)
                if part.is_right:
                    if part.finish(blob) or self._is_whole(etag):
                        return
                    found = "was taken away while it was written"
                    continue
                found = f"has the hash {part.digest[:12]}… where the Hub states {etag[:12]}…"
                part.set_aside()
        raise IntegrityError(
            f"{self._wanted.path} of {self._wanted.repo} was fetched twice, and what came {found}.",
            hint="A proxy, a disk or memory may change bytes: try another network or another disk."
            f" What came is kept as {aside.name}; `localllm prune` removes it.",
        )

    def _fill(self, part: Part) -> None:
        """Bring a part to its full length: what is there is hashed, what is missing fetched."""
        is_first = True
        while True:
            part.catch_up(self._stop, partial(self._checks, part))
            if is_first:
                is_first = False
                self._say(n_resumed=part.n_hashed, n_done=part.n_hashed, waiting_for=None)
            self._counts(part)
            if part.is_whole:
                return
            try:
                self._receive(part)
            except ExpiredLink as error:
                self._tries.failed(Transient(error.reason), waits=False)
                self._ask()
            except Transient as error:
                self._tries.failed(error)

    def _receive(self, part: Part) -> None:
        """One answer, from the first byte that is missing, written as it comes."""
        assert self._location is not None, "the metadata came first"
        n_bytes = self._wanted.n_bytes
        ask = partial(self._client.body, self._location, start=part.n_hashed, n_bytes=n_bytes)
        self._say(phase="fetching", waiting_for=None)
        with Receiver(ask, self._stop) as receiver:
            starts_at = receiver.starts_at()
            self._tries.reached()
            if starts_at not in (0, part.n_hashed):
                raise Transient("the server sends other bytes than those asked for")
            if starts_at != part.n_hashed:
                part.restart()
                self._say(n_done=0, n_resumed=0)
            n_received = self._state.n_received
            try:
                for data in receiver.batches():
                    n_received += len(data)
                    part.write(data)
                    self._counts(part)
                    self._soon(n_done=part.n_hashed, n_received=n_received)
            finally:
                self._say(n_done=part.n_hashed, n_received=n_received)
        if not part.is_whole:
            raise Transient("the connection ended early")

    def _counts(self, part: Part) -> None:
        """Bytes that were here before, and had to come again, are no progress."""
        if part.n_hashed > self._most:
            self._most = part.n_hashed
            self._tries.came()

    def _linked(self, etag: str) -> Path:
        place(
            self._folder.blob(etag),
            self._snapshot,
            snapshots=self._folder.snapshots,
            environ=self._environ,
        )
        return self._done()

    # ------------------------------------------------------------------ what is told

    def _done(self) -> Path:
        self._say(phase="done", n_done=self._wanted.n_bytes, waiting_for=None)
        return self._snapshot

    def _waits(self, reason: str) -> None:
        self._say(phase="waiting", waiting_for=reason)

    def _say(self, **changes: object) -> None:
        self._state = replace(self._state, **changes)  # type: ignore[arg-type]  # FileState's own
        self._told_at_s = time.monotonic()
        self._tell(self._state)

    def _checks(self, part: Part) -> None:
        self._soon(phase="checking", n_done=part.n_hashed, waiting_for=None)

    def _soon(self, **changes: object) -> None:
        """Say it unless something was said just now: the next one says it then."""
        if time.monotonic() - self._told_at_s >= _TELL_S:
            self._say(**changes)

    def _gave_up(self, reason: str) -> UnreachableError:
        wanted, n_here = self._wanted, self._state.n_done
        kept = "Nothing of it came."
        if n_here:
            kept = f"What came is kept: {format_bytes(n_here)} of {format_bytes(wanted.n_bytes)}."
        return UnreachableError(
            f"{wanted.path} of {wanted.repo} cannot be fetched: {reason}. {kept}",
            hint="Run the same command again: it goes on where this one stopped.",
        )


def _growing_bytes(blobs: Path, etag: str) -> int:
    """How large the file is that somebody writes just now: ours, or huggingface_hub's."""
    newest, n_bytes = 0.0, 0
    with suppress(OSError), os.scandir(blobs) as entries:
        for entry in entries:
            if entry.name.startswith(etag) and entry.name.endswith((".part", ".incomplete")):
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_mtime >= newest:
                        newest, n_bytes = status.st_mtime, status.st_size
    return n_bytes
