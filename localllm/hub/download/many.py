"""The files of one model, several at once: one download that a shell shows and may leave.

The caller's thread only tells how far it is, so that Ctrl-C acts at once; the threads that fetch
are left with all they have on the disk.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from localllm.core.fetching import FetchNote, FetchProgress, FileState
from localllm.errors import LocalLLMError
from localllm.hub.background import running
from localllm.hub.cache_layout import RepoFolder
from localllm.hub.download.links import write_ref
from localllm.hub.download.one import fetch_file
from localllm.hub.download.space import check_space
from localllm.hub.download.wanted import Source, WantedFile
from localllm.hub.patience import FetchPatience

N_AT_ONCE = 4
"""Files: one connection seldom fills a line, and more than a few gain nothing."""
JOIN_S = 2.0
"""Threads that wait for a silent server are left after that; they write nothing any more."""


def fetch_files(
    wanted: Sequence[WantedFile],
    *,
    client: Source,
    root: Path,
    stop: threading.Event | None = None,
    patience: FetchPatience | None = None,
    limit: int = N_AT_ONCE,
    environ: Mapping[str, str] = os.environ,
) -> Generator[FetchProgress | FetchNote, None, tuple[Path, ...]]:
    """Fetch files of one commit into the cache at ``root``; return where each is found, in order.

    Begun in the order given, at most ``limit`` at once. Yields about ten times a second, from the
    caller's thread. To close it, or an exception in it, ends the download within two seconds and
    keeps what is here; so does ``stop`` from another thread, and then it raises Stopped. The first
    error of a file ends all: what ``fetch_file`` raises, and LocalLLMError where the whole has no
    room on the disk, before the first byte. The branch points to the commit once all is here; where
    that cannot be written down, a note says so.
    """
    if len({(file.repo, file.revision, file.commit) for file in wanted}) != 1:
        raise ValueError("the files of one commit are fetched together")
    folder = RepoFolder(root=root, repo=wanted[0].repo)
    states = [FileState(path=file.path, n_bytes=file.n_bytes) for file in wanted]
    yield FetchProgress(files=tuple(states))
    check_space(wanted, root)
    stop = stop or threading.Event()
    notes: queue.SimpleQueue[str] = queue.SimpleQueue()
    noted: set[str] = set()

    def tell(index: int, state: FileState) -> None:
        states[index] = state

    def fetch(indices: Sequence[int]) -> dict[int, Path]:
        return {
            index: fetch_file(
                wanted[index],
                client=client,
                root=root,
                tell=partial(tell, index),
                stop=stop,
                patience=patience or FetchPatience(),
                note=notes.put,
                environ=environ,
            )
            for index in indices
        }

    tasks = [partial(fetch, indices) for indices in _same_content(wanted)]
    work = running(tasks, limit=limit, stop=stop, name="localllm-fetch", join_s=JOIN_S)
    with closing(work):
        while True:
            try:
                next(work)
            except StopIteration as end:
                found = {index: path for paths in end.value for index, path in paths.items()}
                break
            while not notes.empty():
                if (text := notes.get()) not in noted:
                    noted.add(text)
                    yield FetchNote(text=text)
            yield FetchProgress(files=tuple(states))
    try:
        write_ref(folder, wanted[0].revision, wanted[0].commit)
    except LocalLLMError as error:
        yield FetchNote(
            text=f"The files are here; that {wanted[0].revision} is their revision could not be"
            f" noted, and other programs may not find them by it. {error.message}"
        )
    yield FetchProgress(files=tuple(states))  # what came last, too
    return tuple(found[index] for index in range(len(wanted)))


def _same_content(wanted: Sequence[WantedFile]) -> list[list[int]]:
    """Group files, by their place, so that none waits for another's lock: one after the other."""
    groups: dict[str | int, list[int]] = {}
    for index, file in enumerate(wanted):
        groups.setdefault(file.sha256 or index, []).append(index)
    return list(groups.values())
