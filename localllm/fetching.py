"""A model that is to be fetched becomes one that is here: downloaded, verified, read.

Composition only: bytes come by ``hub/download``, and every one of them is hashed there.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.core.fetching import FetchNote, FetchProgress, ToFetch
from localllm.hub.resolve import LocalModel

if TYPE_CHECKING:
    from localllm.hub.download.wanted import WantedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The end of a download: every part is here and hashes to what the Hub said."""

    model: LocalModel


FetchEvent = FetchProgress | FetchNote | Fetched


def fetch(
    wanted: ToFetch,
    *,
    stop: threading.Event | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Generator[FetchEvent]:
    """Download a model; yields progress about ten times a second, then ``Fetched``.

    Closing the iterator, or ``stop`` from any thread, ends it and keeps what came: the same again
    continues there. Raises AccessError (exit 4), NotFoundError (5) where the Hub cannot be reached,
    IntegrityError (7) for content that is not what the Hub names, LocalLLMError (1) for a full disk
    and other failures of this machine.
    """
    from localllm.hub.cache_layout import cache_root
    from localllm.hub.client.hub_client import HubClient
    from localllm.hub.download.last_rate import remember_rate
    from localllm.hub.download.many import fetch_files
    from localllm.hub.resolve import local_model

    client, root = HubClient(environ=environ), cache_root(environ)
    received = _Received()
    events = fetch_files(_files(wanted), client=client, root=root, stop=stop, environ=environ)
    paths = yield from received.counted(events)
    remember_rate(client.endpoint, received.n_bytes, received.seconds, environ)
    yield Fetched(model=local_model(paths[0]))


class _Received:
    """What came over the network, and in which time: checks and waits are not in it."""

    def __init__(self) -> None:
        self.n_bytes = 0
        self.seconds = 0.0

    def counted(
        self, events: Generator[FetchProgress | FetchNote, None, tuple[Path, ...]]
    ) -> Generator[FetchProgress | FetchNote, None, tuple[Path, ...]]:
        """Pass a download's events on, and return what it returns."""
        looked_s = time.monotonic()
        with closing(events):
            while True:
                try:
                    event = next(events)
                except StopIteration as end:
                    paths: tuple[Path, ...] = end.value
                    return paths
                now_s = time.monotonic()
                if isinstance(event, FetchProgress):
                    if event.n_received > self.n_bytes:
                        self.seconds += now_s - looked_s
                    self.n_bytes, looked_s = event.n_received, now_s
                yield event


def check_room(wanted: ToFetch, *, environ: Mapping[str, str] = os.environ) -> None:
    """Raise LocalLLMError (exit 1), with both sizes, where a download has no room on its disk."""
    from localllm.hub.cache_layout import cache_root
    from localllm.hub.download.space import check_space

    check_space(_files(wanted), cache_root(environ))


def room_for(wanted: ToFetch, *, environ: Mapping[str, str] = os.environ) -> ToFetch:
    """Return the same with what is here of it, and what is free where it goes."""
    from localllm.hub.cache_layout import cache_root
    from localllm.hub.download.space import free_bytes, missing_bytes

    root = cache_root(environ)
    missing = missing_bytes(_files(wanted), root)
    return replace(wanted, here_bytes=wanted.n_bytes - missing, free_bytes=free_bytes(root))


def _files(wanted: ToFetch) -> list[WantedFile]:
    from localllm.hub.download.wanted import WantedFile

    return [
        WantedFile(
            repo=wanted.repo,
            revision=wanted.revision,
            commit=wanted.commit,
            path=file.path,
            n_bytes=file.n_bytes,
            sha256=file.sha256,
        )
        for file in wanted.files
    ]
