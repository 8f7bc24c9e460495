"""The client of the Hub: what a repository offers, what a file is, and its bytes.

It asks the endpoint that ``HF_ENDPOINT`` names and, for bytes, whomever that leads to; nobody else.
A token goes to the endpoint's own origin alone. Each request has a timeout, and offline none is
made.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import quote

from localllm.hub.background import Stopped
from localllm.hub.cache_layout import check_path, check_repo, check_revision
from localllm.hub.client.answers import body_start, listing_of, metadata_of, says_enough
from localllm.hub.client.errors import (
    leads_elsewhere,
    offline,
    refused,
    refused_bytes,
    unreachable_hub,
)
from localllm.hub.client.refusals import Wanted, wanted_at
from localllm.hub.client.session import REDIRECTS, Session, leads_to, translated
from localllm.hub.http_refusals import NotReached, Transient
from localllm.hub.patience import FetchPatience
from localllm.hub.remote_url import hub_endpoint, is_offline, origin_of
from localllm.hub.repo_files import FileMetadata, RepoListing
from localllm.units import MiB

LONGEST_LISTING_BYTES = 16 * MiB
"""About 250 bytes for each file."""
LONGEST_LISTING_S = 60.0


class HubBody:
    """The bytes of a file, from where its answer begins."""

    def __init__(self, answer: Any, url: str, *, starts_at: int, n_bytes: int) -> None:
        """Take an answer whose status, range and length have been checked."""
        self._answer, self._url, self._n_left = answer, url, n_bytes - starts_at
        self.starts_at = starts_at
        """Where the first byte belongs: what was asked for, or 0."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes as they come, about 64 KiB at a time, up to the end of the file.

        Raises Transient where they end early, stop coming, or do not end.
        """
        with translated(self._url):
            for piece in self._answer.iter_raw():
                self._n_left -= len(piece)
                if self._n_left < 0:
                    raise Transient("the server sent more than the file")
                yield piece
        if self._n_left:
            raise Transient("the connection ended early")


class HubClient:
    """The Hub, or the mirror that stands for it. Safe to use from several threads."""

    def __init__(self, *, environ: Mapping[str, str] = os.environ, timeout_s: float = 10.0) -> None:
        """Ask nothing yet. Raises UsageError (exit 2) for an ``HF_ENDPOINT`` that is no address."""
        self._hub = hub_endpoint(environ)
        self._timeout_s = timeout_s
        self.endpoint = self._hub.url
        """Safe to print."""
        self.is_offline = is_offline(environ)

    def listing(
        self,
        repo: str,
        revision: str = "main",
        *,
        patience: FetchPatience | None = None,
        stop: threading.Event | None = None,
        on_wait: Callable[[str | None], None] = lambda reason: None,
    ) -> RepoListing:
        """Return the GGUF files of one revision, with their sizes and hashes.

        Tries again what may pass; ``on_wait`` hears why, and None when the next try is made. A Hub
        that cannot be reached at the first try is not waited for. Raises UsageError (exit 2),
        AccessError (4), NotFoundError (5; UnreachableError where the Hub is), IntegrityError (7),
        and Stopped once ``stop`` is set.
        """
        wanted = self._wanted(check_repo(repo), check_revision(revision))
        patience, stop = patience or FetchPatience(), stop or threading.Event()
        n_failed = 0
        while True:
            try:
                return listing_of(wanted, self._listing(wanted))
            except Transient as error:
                n_failed += 1
                is_lost = isinstance(error, NotReached) and n_failed == 1
                if is_lost or n_failed >= patience.n_tries:
                    raise unreachable_hub(wanted, error.reason) from None
                on_wait(error.reason)
                if stop.wait(patience.wait_s(n_failed, error.wait_s)):
                    raise Stopped from None
                on_wait(None)

    def metadata(self, repo: str, revision: str, path: str) -> FileMetadata:
        """Return a file's hash, size and address. Asks once.

        Raises Transient for what may pass (NotReached where there is no connection at all),
        AccessError (exit 4), NotFoundError (5), and IntegrityError (7) for an answer that does
        not have the form it must have.
        """
        wanted = self._wanted(check_repo(repo), check_revision(revision), check_path(path))
        url = f"{self.endpoint}/{repo}/resolve/{quote(revision, safe='')}/{quote(path)}"
        with self._session.follow("HEAD", url, leave=False, says_enough=says_enough) as (
            answer,
            asked,
        ):
            status, headers = answer.status_code, answer.headers
            if status in REDIRECTS:
                location = leads_to(asked, headers)
                if "X-Repo-Commit" not in headers:
                    raise leads_elsewhere(wanted, location)
                return metadata_of(wanted, headers, location=location, redirects=True)
            if status != 200:
                raise refused(wanted, status, headers)
            return metadata_of(wanted, headers, location=asked, redirects=False)

    def body(self, location: str, *, start: int, n_bytes: int) -> AbstractContextManager[HubBody]:
        """Ask for the bytes of a file of ``n_bytes``, from ``start`` on, which is less. Asks once.

        Raises Transient for what may pass, ExpiredLink for an address that is no longer good, and
        what ``metadata`` does.
        """
        return self._body(location, start, n_bytes)

    @contextmanager
    def _body(self, location: str, start: int, n_bytes: int) -> Iterator[HubBody]:
        if self.is_offline:
            raise offline("The rest of the file", origin_of(location).host)
        headers = {"Range": f"bytes={start}-"}
        with self._session.follow("GET", location, headers=headers, leave=True) as (answer, url):
            status = answer.status_code
            if status not in (200, 206):
                raise self._refused_body(url, status, answer.headers)
            starts_at = body_start(status, answer.headers, start=start, n_bytes=n_bytes)
            yield HubBody(answer, url, starts_at=starts_at, n_bytes=n_bytes)

    def _refused_body(self, url: str, status: int, headers: Any) -> Exception:
        """What a refusal means: of a file at the Hub itself, or of an address that was signed."""
        at_hub = None
        if origin_of(url) == self._hub.origin:
            at_hub = wanted_at(url, has_token=self._hub.has_token)
        if at_hub is not None and status != 416:
            return refused(at_hub, status, headers)
        return refused_bytes(origin_of(url).host, status, headers)

    def _listing(self, wanted: Wanted) -> object:
        """The Hub's answer to what is in a repository, as JSON has it."""
        url = (
            f"{self.endpoint}/api/models/{wanted.repo}/revision/"
            f"{quote(wanted.revision, safe='')}?blobs=true"
        )
        with self._session.follow("GET", url, leave=False) as (answer, asked):
            if answer.status_code in REDIRECTS:
                raise leads_elsewhere(wanted, leads_to(asked, answer.headers))
            if answer.status_code != 200:
                raise refused(wanted, answer.status_code, answer.headers)
            text = bytearray()
            ends_at_s = time.monotonic() + LONGEST_LISTING_S
            with translated(asked):
                for piece in answer.iter_bytes():
                    text += piece
                    if len(text) > LONGEST_LISTING_BYTES:
                        raise unreachable_hub(wanted, "its list of files does not end")
                    if time.monotonic() > ends_at_s:
                        raise Transient("the server sends too slowly")
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise unreachable_hub(
                wanted, "what answers is not a Hub; a network may want you to log in first"
            ) from None

    def _wanted(self, repo: str, revision: str, path: str | None = None) -> Wanted:
        wanted = Wanted(
            endpoint=self.endpoint,
            repo=repo,
            revision=revision,
            path=path,
            has_token=self._hub.has_token,
        )
        if self.is_offline:
            raise offline(wanted.shown, self.endpoint)
        return wanted

    @cached_property
    def _session(self) -> Session:
        return Session(self._hub, timeout_s=self._timeout_s)
