"""One file that is wanted, and whom it can be had of.

``Source`` is what a download needs of a client of the Hub, and how that fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from localllm.hub.repo_files import FileMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedFile:
    """One file of one commit, as the listing of its repository named it."""

    repo: str
    """``user/repo``."""
    revision: str
    """What was asked for: a branch, a tag or a commit."""
    commit: str
    """What that was when the repository was listed: 40 hexadecimal digits."""
    path: str
    """In the repository, with slashes."""
    n_bytes: int
    """The listing's size."""
    sha256: str | None = None
    """The listing's SHA-256, 64 hexadecimal digits; None for a small file, which has none there."""


class Body(Protocol):
    """An answer that has begun, its status and its range checked."""

    @property
    def starts_at(self) -> int:
        """Where its first byte belongs: what was asked for, or 0 where the server ignored that."""

    def pieces(self) -> Iterator[bytes]:
        """Yield its bytes as they come. Raises Transient where it ends early."""


class Source(Protocol):
    """What a download needs of a client of the Hub."""

    def metadata(self, repo: str, revision: str, path: str) -> FileMetadata:
        """Ask for a file's hash, size and address, once. Raises Transient for what may pass."""

    def body(self, location: str, *, start: int, n_bytes: int) -> AbstractContextManager[Body]:
        """Ask for the bytes of a file of ``n_bytes``, from ``start`` on.

        Raises Transient for what may pass, ExpiredLink, and our own errors for what will not.
        """
