"""One file at its server: what it is said to be, and its bytes."""

from __future__ import annotations

import threading
from functools import partial

from localllm.errors import IntegrityError
from localllm.hub.cache_layout import check_etag
from localllm.hub.download.threads import Receiver, awaited
from localllm.hub.download.tries import Tries
from localllm.hub.download.wanted import Source, WantedFile
from localllm.hub.http_refusals import Transient
from localllm.hub.repo_files import FileMetadata


class FileAtServer:
    """A wanted file, asked for at its commit, so that a branch may move in the meantime."""

    def __init__(
        self, wanted: WantedFile, client: Source, tries: Tries, stop: threading.Event
    ) -> None:
        """Ask nothing yet. Raises IntegrityError where the listing's hash is none."""
        self._wanted = wanted
        self._client = client
        self._tries = tries
        self._stop = stop
        self._location: str | None = None
        self.etag = None if wanted.sha256 is None else check_etag(wanted.sha256)
        """The hash that names its content, by the listing or by the server; None: not known yet."""

    @property
    def was_asked(self) -> bool:
        """Whether the server has stated its hash and its address."""
        return self._location is not None

    def ask(self) -> FileMetadata:
        """Ask for its hash and its address until there is an answer, and check that.

        Raises IntegrityError where it is another file than was listed or was here before, GaveUp,
        Stopped, and what the client raises.
        """
        wanted = self._wanted
        ask = partial(self._client.metadata, wanted.repo, wanted.commit, wanted.path)
        while True:
            try:
                metadata = awaited(ask, self._stop, limit_s=self._tries.longest_answer_s)
            except Transient as error:
                self._tries.failed(error)
            else:
                break
        self._tries.reached()
        is_same = (
            metadata.commit == wanted.commit
            and metadata.n_bytes == wanted.n_bytes
            and self.etag in (None, metadata.etag)
        )
        if not is_same:
            raise IntegrityError(
                f"{wanted.path} of {wanted.repo} changed on the Hub since it was listed.",
                hint="Run the same command again: it looks at the repository anew.",
            )
        self.etag = check_etag(metadata.etag)
        self._location = metadata.location
        return metadata

    def forget_location(self) -> None:
        """Ask the Hub again where the bytes are before they are asked for."""
        self._location = None

    def receiver(self, start: int) -> Receiver:
        """Ask for its bytes from ``start`` on. Raises what ``ask`` does."""
        location = self._location or self.ask().location
        ask = partial(self._client.body, location, start=start, n_bytes=self._wanted.n_bytes)
        return Receiver(ask, self._stop, limit_s=self._tries.longest_answer_s)
