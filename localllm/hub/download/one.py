"""The verified download of one file into the shared cache: resumed, locked, hashed, atomic.

A file appears under the name of its hash when its bytes have that hash, and not before. All that
goes wrong on the way ends in that file or in an error; what has come stays for the next run.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from localllm.core.fetching import FileState
from localllm.errors import IntegrityError, LocalLLMError
from localllm.hub.background import Stopped
from localllm.hub.cache_layout import RepoFolder
from localllm.hub.download.at_server import FileAtServer
from localllm.hub.download.disk_errors import disk_error
from localllm.hub.download.filesystems import is_networked, kind_of, largest_file_bytes
from localllm.hub.download.filling import fill
from localllm.hub.download.hashing import kind_of_hash
from localllm.hub.download.here import Here
from localllm.hub.download.links import leads_to, place
from localllm.hub.download.locks import locked
from localllm.hub.download.own_part import own_part
from localllm.hub.download.part import Part
from localllm.hub.download.space import check_space
from localllm.hub.download.told import Told
from localllm.hub.download.tries import GaveUp, Tries
from localllm.hub.download.wanted import Source, WantedFile
from localllm.hub.http_refusals import UnreachableError
from localllm.hub.patience import FetchPatience
from localllm.units import format_bytes

N_ROUNDS = 2
"""Whole downloads, where the bytes of the first are wrong."""
_POLL_S = 0.2


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

    Whatever it returns, this call has read and hashed every byte of. Asks nobody where the file is
    here and the listing stated its hash. ``tell`` hears how far it is, each time that something has
    come, some thousand times a second at most; ``note`` a sentence that a person should know.
    ``stop`` ends it within 0.2 s by Stopped. Everything that came stays, and the next call goes on
    there.

    Raises what the client does for a file that may not be had, UnreachableError (exit 5) after too
    many tries, IntegrityError (7) for a file that is another than the listing said, one that is
    here included, or whose bytes are wrong twice, and LocalLLMError (1) for a disk that is full,
    failing or not to be written.
    """
    told = Told(wanted, tell)
    tries = Tries(patience, stop, on_wait=lambda why: told.now(phase="waiting", waiting_for=why))
    file = FileAtServer(wanted, client, tries, stop)
    return _Fetch(wanted, root, file, tries, told, stop, note, environ).run()


class _Fetch:
    """One call of ``fetch_file``."""

    def __init__(
        self,
        wanted: WantedFile,
        root: Path,
        file: FileAtServer,
        tries: Tries,
        told: Told,
        stop: threading.Event,
        note: Callable[[str], None],
        environ: Mapping[str, str],
    ) -> None:
        self._wanted = wanted
        self._root = root
        self._folder = RepoFolder(root=root, repo=wanted.repo)
        self._snapshot = self._folder.snapshot(wanted.commit, wanted.path)
        self._file = file
        self._tries = tries
        self._told = told
        self._stop = stop
        self._note = note
        self._environ = environ

    def run(self) -> Path:
        self._told.now()
        etag = self._file.etag
        try:
            if etag is None or not self._is_something_here(etag):
                etag = self._file.ask().etag
            self._get(etag)
        except GaveUp as error:
            raise self._gave_up(error.reason) from None
        self._told.now(
            phase="done",
            n_done=self._wanted.n_bytes,
            waiting_for=None,
            verified_by=kind_of_hash(etag),
        )
        return self._snapshot

    def _is_something_here(self, etag: str) -> bool:
        """Whether a file lies under one of its names, right or wrong."""
        return os.path.isfile(self._snapshot) or os.path.isfile(self._folder.blob(etag))

    def _get(self, etag: str) -> None:
        """Get the content unless it is here, and make it found.

        Under the lock to the end: a content that no revision has is one that may be pruned.
        """
        blob, blobs = self._folder.blob(etag), self._folder.blobs
        aside = self._folder.corrupt(etag)
        here = Here(self._wanted, etag, aside=aside, told=self._told, stop=self._stop)
        if not os.access(blobs, os.W_OK) and self._is_found(here, blob):
            return  # in a cache that others fill, where no lock can be made
        for folder in (blobs, self._folder.snapshots):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise disk_error(error, folder) from None
        busy = partial(self._elsewhere, etag)
        with locked(self._folder.lock(etag), busy=busy) as keeps_out:
            if self._is_found(here, blob):
                return
            if not here.is_right(blob):
                self._fetch(etag, here, keeps_out=keeps_out)
            here.keep_evidence(self._snapshot)
            place(blob, self._snapshot, snapshots=self._folder.snapshots, environ=self._environ)

    def _is_found(self, here: Here, blob: Path) -> bool:
        """Whether the revision has the content: by a link to the blob, or as a file of its own."""
        if self._snapshot.is_symlink():
            return leads_to(self._snapshot, blob) and here.is_right(blob)
        return here.is_right(self._snapshot)

    def _fetch(self, etag: str, here: Here, *, keeps_out: bool) -> None:
        """Get the content into a part that nobody else writes to."""
        if not self._file.was_asked:
            self._file.ask()
        kind = kind_of(self._folder.blobs)
        self._check_room(etag, kind)
        shared = self._folder.part(etag)
        if keeps_out and not is_networked(kind):
            self._fill(etag, shared, here)
            return
        self._note(
            f"Locks cannot be relied on in {self._root}: a download there that is killed starts"
            " again from its beginning."
        )
        with own_part(shared) as own:
            self._fill(etag, own, here)

    def _elsewhere(self, etag: str, pid: int | None) -> None:
        """Another process has the lock: tell how far it is, and wait a moment."""
        who = "another process" if pid is None else f"another process ({pid})"
        if pid == os.getpid():
            who = "another download of this process"
        n_done = min(_growing_bytes(self._folder.blobs, etag), self._wanted.n_bytes)
        self._told.now(phase="elsewhere", n_done=n_done, waiting_for=f"{who} downloads it")
        if self._stop.wait(_POLL_S):
            raise Stopped

    def _check_room(self, etag: str, kind: str | None) -> None:
        check_space([replace(self._wanted, sha256=etag)], self._root, counts_whole=False)
        limit = largest_file_bytes(kind)
        if limit is not None and self._wanted.n_bytes > limit:
            raise LocalLLMError(
                f"{self._wanted.path} has {format_bytes(self._wanted.n_bytes)}, and the file system"
                f" of {self._root} holds files of up to {format_bytes(limit)}.",
                hint="Name a folder on another disk with HF_HUB_CACHE.",
            )

    def _fill(self, etag: str, path: Path, here: Here) -> None:
        """Fill a part and give it its name; from the beginning again where its bytes are wrong."""
        wanted, aside, blob = self._wanted, self._folder.corrupt(etag), self._folder.blob(etag)
        digest = None
        for _ in range(N_ROUNDS):
            with Part(path, aside=aside, n_bytes=wanted.n_bytes, etag=etag) as part:
                fill(part, self._file, tries=self._tries, told=self._told, stop=self._stop)
                if part.is_right:
                    part.sync(self._stop)
                    here.keep_evidence(blob)  # not before: until then nothing is lost
                    if part.finish(blob) or here.is_right(blob):
                        return
                    digest = None
                else:
                    digest = part.digest
                    part.set_aside()
            self._tries.start_over()
        if digest is None:
            raise LocalLLMError(
                f"{wanted.path} of {wanted.repo} was fetched twice, and each time another program"
                " removed it before it was finished.",
                hint=f"Find out what deletes files in {self._folder.blobs}, or name another folder"
                " with HF_HUB_CACHE.",
            )
        raise IntegrityError(
            f"{wanted.path} of {wanted.repo} was fetched twice, and what came has the hash"
            f" {digest[:12]}… where the Hub states {etag[:12]}….",
            hint="A proxy, a disk or memory may change bytes: try another network or another disk."
            f" What came is kept as {aside.name}; `localllm prune` removes it.",
        )

    def _gave_up(self, reason: str) -> UnreachableError:
        wanted, n_here, etag = self._wanted, self._told.state.n_done, self._file.etag
        if not n_here and etag is not None:  # of an earlier run, and nobody has looked at it yet
            with suppress(OSError):
                n_here = self._folder.part(etag).stat().st_size
        kept, then = "Nothing of it came.", ""
        if n_here:
            kept = f"What came is kept: {format_bytes(n_here)} of {format_bytes(wanted.n_bytes)}."
            then = ": it goes on where this one stopped"
        return UnreachableError(
            f"{wanted.path} of {wanted.repo} cannot be fetched: {reason}. {kept}",
            hint=f"Check the connection and run the same command again{then}.",
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
