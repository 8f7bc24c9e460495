"""What lies in the cache and no model needs: unfinished downloads, damaged files, orphans.

``localllm`` resumes ``<etag>.part``; what a killed huggingface_hub leaves behind,
``<etag>.<8 hex>.incomplete``, it never takes up again; ``<etag>.downloadInProgress`` is llama.cpp's
(``common/download.cpp``). A blob is an orphan when no revision of its repository, and nothing else
in the cache, links to it, and all that could do so could be read. What has the name of a
link or reference that is being made counts after an hour: somebody may be at it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from localllm.core.kept import Leftover, LeftoverKind
from localllm.hub.cache_layout import RepoFolder
from localllm.hub.kept import shared_store
from localllm.hub.kept.deleting import lock_of
from localllm.hub.kept.disk import (
    entries,
    first_step,
    is_folder,
    is_temporary,
    model_folders,
    read_refs,
    status_of,
    walk,
)
from localllm.hub.kept.emptied import SETTLED_S
from localllm.hub.kept.links import Links
from localllm.hub.kept.locks import is_held
from localllm.hub.kept.users import users_of

_HASH = r"(?:[0-9a-f]{64}|[0-9a-f]{40})"
_KINDS: tuple[tuple[re.Pattern[str], LeftoverKind], ...] = (
    (re.compile(rf"{_HASH}(?:\.[\w-]+)?\.part\.corrupt"), "corrupt"),
    (re.compile(rf"{_HASH}(?:\.[\w-]+)?\.(?:part|incomplete|downloadInProgress)"), "partial"),
    (re.compile(_HASH), "orphan"),
)


def find_leftovers(root: Path) -> tuple[Leftover, ...]:
    """Return what could be deleted from the cache at ``root`` without a model missing it."""
    root = Path(os.path.abspath(root))
    links = Links(root)
    found = [each for folder in model_folders(root, []) for each in _of(folder, links)]
    found += [(content, "orphan", None) for content in _unneeded(root, links)]
    found = [each for each in found if each[1] != "temporary" or _age_s(each[0]) > SETTLED_S]
    used = {user.path for user in users_of(path for path, kind, _ in found if kind != "dangling")}
    return tuple(
        Leftover(
            path=path,
            kind=kind,
            n_bytes=_size(path),
            repo=repo,
            age_s=_age_s(path),
            in_use=path in used or _is_locked(path, root),
        )
        for path, kind, repo in found
    )


def is_needed(path: Path, links: Links) -> bool:
    """Whether a blob is in use by a revision, or might be: it is an orphan only if it is not."""
    return bool(links.to(path)) or path.parent.parent in links.unread


_Found = tuple[Path, LeftoverKind, str | None]


def _of(folder: RepoFolder, links: Links) -> Iterator[_Found]:
    for entry in entries(folder.blobs, []):
        path = folder.blobs / entry.name
        kind = None if is_folder(entry) else _kind(entry.name)
        if kind == "orphan" and is_needed(path, links):
            continue
        if kind is not None:
            yield path, kind, folder.repo
        elif is_temporary(entry.name):
            yield path, "temporary", folder.repo
    for path, _ in walk(folder.snapshots, []):
        if is_temporary(path.name):
            yield path, "temporary", folder.repo
        elif _is_dangling(path):
            yield path, "dangling", folder.repo
    for name in read_refs(folder, []).broken:
        if name.endswith(".tmp"):  # of llama.cpp's; an empty one damages the repository for others
            yield folder.refs / name, "temporary", folder.repo


def _kind(name: str) -> LeftoverKind | None:
    return next((kind for pattern, kind in _KINDS if pattern.fullmatch(name)), None)


def _is_dangling(path: Path) -> bool:
    return first_step(path) is not None and not os.path.exists(path)


def _unneeded(root: Path, links: Links) -> Iterator[Path]:
    """Contents of the shared store that nothing links to, by its own lists and by all links."""
    notes: list[str] = []
    for content in shared_store.contents(root, notes):
        if links.unread or links.to(content):
            continue
        if shared_store.users_of(content, root) == frozenset():
            yield content


def _is_locked(path: Path, root: Path) -> bool:
    lock = lock_of(path, root) or path.with_name(f"{path.name}.lock")
    return is_held(lock)


def _size(path: Path) -> int:
    """A link has no bytes of its own to give back, even where its target has."""
    status = None if first_step(path) is not None else status_of(path)
    return status.st_size if status else 0


def _age_s(path: Path) -> float:
    try:
        return max(time.time() - path.lstat().st_mtime, 0.0)
    except OSError:
        return 0.0
