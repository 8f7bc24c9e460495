"""What the Hub says of a repository and its files: values that the client makes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoFile:
    """One file of a revision."""

    path: str
    """With slashes, as the Hub names it; checked by nobody yet."""
    n_bytes: int
    sha256: str | None = None
    """64 hexadecimal digits, of a large file; a small one has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoListing:
    """One revision of a repository."""

    repo: str
    """``user/repo``, as the Hub spells it."""
    revision: str
    """The branch, tag or commit that was asked for: ``main`` unless named."""
    commit: str
    """40 hexadecimal digits."""
    files: tuple[RepoFile, ...]
    is_gated: bool = False
    """Its licence must be accepted on its page before its files can be read."""
    licence: str | None = None
    left_out: tuple[str, ...] = ()
    """Sentences on files that cannot be had from here, though they are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMetadata:
    """What a HEAD of one file says, checked (``cache_layout.check_*``)."""

    commit: str
    etag: str
    """64 hexadecimal digits (SHA-256) or 40 (git's SHA-1), the name of its blob."""
    n_bytes: int
    location: str = field(repr=False)
    """Where its bytes are: holds a signature, never to be shown."""
