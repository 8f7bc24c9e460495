"""What repositories had on offer when they were last looked at: for a plan without a network.

One small JSON file for each repository and revision. Never used to download: what is fetched is
listed anew. Nothing read here is believed further than its form; what has another is left aside.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from localllm.errors import LocalLLMError
from localllm.hub.cache_layout import check_commit, check_path
from localllm.hub.headers.cache import cache_dir
from localllm.hub.repo_files import RepoFile, RepoListing

_SCHEMA = "localllm.listing/1"
_MAX_BYTES = 4 << 20


def remember(endpoint: str, listing: RepoListing, environ: Mapping[str, str] = os.environ) -> None:
    """Keep what a repository had; where that cannot be written it is not kept, and no error."""
    path = _path(endpoint, listing.repo, listing.revision, environ)
    document = {"schema": _SCHEMA, **asdict(listing)}
    temporary = None
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file)
        os.replace(temporary, path)
        return
    if temporary is not None:
        with suppress(OSError):
            os.unlink(temporary)


def remembered(
    endpoint: str, repo: str, revision: str, environ: Mapping[str, str] = os.environ
) -> RepoListing | None:
    """Return what a repository had when it was last looked at; None where nobody looked."""
    path = _path(endpoint, repo, revision, environ)
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        return _listing(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, LocalLLMError):
        return None


def _listing(document: Any) -> RepoListing | None:
    if document["schema"] != _SCHEMA:
        return None
    files = tuple(
        RepoFile(
            path=check_path(str(each["path"])),
            n_bytes=int(each["n_bytes"]),
            sha256=each["sha256"] and str(each["sha256"]),
            git_sha1=each["git_sha1"] and str(each["git_sha1"]),
        )
        for each in document["files"]
    )
    return RepoListing(
        repo=str(document["repo"]),
        revision=str(document["revision"]),
        commit=check_commit(str(document["commit"])),
        files=files,
        is_gated=bool(document["is_gated"]),
        licence=document["licence"] and str(document["licence"]),
    )


def _path(endpoint: str, repo: str, revision: str, environ: Mapping[str, str]) -> Path:
    key = f"{endpoint} {repo.lower()} {revision}".encode()
    return cache_dir(environ) / "listings" / f"{hashlib.sha256(key).hexdigest()}.json"
