"""What repositories had on offer when they were last looked at: for a plan without a network.

One small JSON file for each repository and revision. Never used to download: what is fetched is
listed anew. Nothing read here is believed further than its form; what has another is left aside.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.hub.cache_layout import SHA256, check_commit, check_path, check_repo
from localllm.hub.client.answers import LARGEST_FILE_BYTES
from localllm.hub.headers.cache import cache_dir
from localllm.hub.repo_files import RepoFile, RepoListing
from localllm.hub.small_files import read_json, write_whole

_SCHEMA = "localllm.listing/1"
_MAX_BYTES = 4 << 20


def remember(endpoint: str, listing: RepoListing, environ: Mapping[str, str] = os.environ) -> None:
    """Keep what a repository had; where that cannot be written it is not kept, and no error."""
    path = _path(endpoint, listing.repo, listing.revision, environ)
    document = {"schema": _SCHEMA, **asdict(listing)}
    with suppress(OSError):
        write_whole(path, json.dumps(document).encode())


def remembered(
    endpoint: str, repo: str, revision: str, environ: Mapping[str, str] = os.environ
) -> RepoListing | None:
    """Return what a repository had when it was last looked at; None where nobody looked."""
    try:
        document = read_json(_path(endpoint, repo, revision, environ), _MAX_BYTES)
        listing = _listing(document) if document["schema"] == _SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError, LocalLLMError):
        return None
    if listing is None or listing.repo.lower() != repo.lower() or listing.revision != revision:
        return None
    return listing


def _listing(document: Any) -> RepoListing:
    """Raises ValueError, KeyError, TypeError and LocalLLMError for what has another form."""
    licence = document["licence"]
    return RepoListing(
        repo=check_repo(_text(document["repo"])),
        revision=_text(document["revision"]),
        commit=check_commit(_text(document["commit"])),
        files=tuple(_file(each) for each in document["files"]),
        is_gated=document["is_gated"] is True,
        licence=None if licence is None else printable(_text(licence)),
        left_out=tuple(printable(_text(each)) for each in document.get("left_out", ())),
    )


def _file(fields: Any) -> RepoFile:
    n_bytes, sha256 = fields["n_bytes"], fields["sha256"]
    if type(n_bytes) is not int or not 0 < n_bytes <= LARGEST_FILE_BYTES:
        raise ValueError("no size of a file")
    if sha256 is not None and not SHA256.fullmatch(sha256):
        raise ValueError("no hash")
    return RepoFile(path=check_path(_text(fields["path"])), n_bytes=n_bytes, sha256=sha256)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError("no text")


def _path(endpoint: str, repo: str, revision: str, environ: Mapping[str, str]) -> Path:
    key = f"{endpoint} {repo.lower()} {revision}".encode()
    return cache_dir(environ) / "listings" / f"{hashlib.sha256(key).hexdigest()}.json"
