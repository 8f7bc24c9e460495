"""What a download tells of itself while it runs: values for every shell, and how a rate is told.

A model is one or several files (parts); ``FetchProgress`` has one ``FileState`` for each.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

Phase = Literal["queued", "checking", "fetching", "waiting", "elsewhere", "done"]
"""``checking``: bytes that were here are hashed. ``waiting``: the next try is put off.
``elsewhere``: another process has this file's lock and downloads it."""

RATE_WINDOW_S = 8.0
"""A rate is told over this long: shorter jumps about, longer tells of the past."""
LEAST_RATE_S = 0.5
"""Before so much time has passed there is no rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """How far one file is."""

    path: str
    """In its repository."""
    n_bytes: int
    """The whole file."""
    n_done: int = 0
    """Here and counted: what was resumed once it is checked, and what came since."""
    n_resumed: int = 0
    """Of these, what was here before: fetched by an earlier run or by another program."""
    n_received: int = 0
    """What this process got over the network, thrown away or not."""
    phase: Phase = "queued"
    waiting_for: str | None = None
    """Why nothing comes for the moment, as the end of a sentence."""
    verified_by: str | None = None
    """The hash that all its bytes were held to, now that it is done: ``SHA-256``, or ``git SHA-1``
    of a small file; None: nobody has hashed them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchProgress:
    """How far a download is; told about ten times a second."""

    files: tuple[FileState, ...]

    @property
    def n_bytes(self) -> int:
        """All of it."""
        return sum(file.n_bytes for file in self.files)

    @property
    def n_done(self) -> int:
        """What is here of it."""
        return sum(file.n_done for file in self.files)

    @property
    def n_resumed(self) -> int:
        """What earlier runs had fetched."""
        return sum(file.n_resumed for file in self.files)

    @property
    def n_received(self) -> int:
        """What this process got over the network."""
        return sum(file.n_received for file in self.files)

    @property
    def verified_by(self) -> tuple[str, ...]:
        """The hashes that all files were held to, each once; none where one file was not."""
        found = {file.verified_by or "" for file in self.files}
        return () if "" in found else tuple(sorted(found))

    @property
    def waiting_for(self) -> str | None:
        """Why nothing comes, where no file gets anything; None while something does."""
        if any(file.phase in ("checking", "fetching") for file in self.files):
            return None
        return next((file.waiting_for for file in self.files if file.waiting_for), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchNote:
    """Something a person should know, once: a sentence."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileToFetch:
    """One file of a model on the Hub."""

    path: str
    """In its repository."""
    n_bytes: int
    sha256: str | None
    """By the listing; None for a small file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToFetch:
    """What a person is asked about before it is downloaded: a model, its source and its size."""

    repo: str
    """``user/repo``."""
    revision: str
    """The branch, tag or commit that was asked for."""
    commit: str
    quant: str
    files: tuple[FileToFetch, ...]
    """The parts, in order."""
    path: str | None = None
    """The file that was asked for by its path, where that is how it was asked for."""
    here_bytes: int = 0
    """Of earlier runs, or of another revision with the same content."""
    free_bytes: int | None = None
    """On the disk that it goes to, now; None where nobody tells."""
    bytes_per_s: float | None = None
    """Of the last download, or of reading the header; None where neither told."""
    licence: str | None = None
    """As the repository's page names it; None where it does not."""
    is_gated: bool = False
    """The licence must be accepted on the page before the files can be read."""

    @property
    def name(self) -> str:
        """The name that finds it again, here and on the Hub."""
        return name_on_hub(self.repo, self.revision, self.path or self.quant)

    @property
    def n_bytes(self) -> int:
        """Of all files."""
        return sum(file.n_bytes for file in self.files)

    @property
    def left_bytes(self) -> int:
        """What has to come over the network."""
        return max(self.n_bytes - self.here_bytes, 0)


def name_on_hub(repo: str, revision: str, which: str) -> str:
    """Return ``user/repo@revision:QUANT``, without what is usual or not known.

    ``which``: the quantisation, or the path of a file.
    """
    at = "" if revision == "main" else f"@{revision}"
    return f"{repo}{at}" if which == "?" else f"{repo}{at}:{which}"


class Rate:
    """Bytes a second over the last few seconds. Told the time, so that it needs no clock."""

    def __init__(self, *, window_s: float = RATE_WINDOW_S) -> None:
        """Know nothing yet."""
        self._window_s = window_s
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now_s: float, n_received: int) -> None:
        """Hear how many bytes have come in all by now."""
        self._seen.append((now_s, n_received))
        while len(self._seen) > 2 and self._seen[1][0] <= now_s - self._window_s:
            self._seen.popleft()

    @property
    def bytes_per_s(self) -> float | None:
        """The rate; None before half a second has passed."""
        if len(self._seen) < 2:
            return None
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return None if last_s - first_s < LEAST_RATE_S else (last - first) / (last_s - first_s)


def time_left_s(n_left: int, bytes_per_s: float | None) -> float | None:
    """Return how long the rest takes at a rate; None where there is none, or nothing comes."""
    return n_left / bytes_per_s if bytes_per_s else None
