"""Tidying the cache: leftovers, revisions that nothing points to any more, empty folders."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from localllm.core.kept import Leftover, LeftoverKind, Pruning
from localllm.hub.kept import shared_store
from localllm.hub.kept.deleting import delete, delete_empty, delete_file, graves, lock_of
from localllm.hub.kept.disk import commits_here, model_folders, read_refs, snapshot_files
from localllm.hub.kept.leftovers import find_leftovers, is_needed
from localllm.hub.kept.links import Links
from localllm.hub.kept.locks import hold
from localllm.hub.kept.removal import plan_files

ALL_KINDS: frozenset[LeftoverKind] = frozenset(
    {"partial", "corrupt", "orphan", "dangling", "temporary"}
)


def plan_prune(
    root: Path,
    *,
    older_than_s: float = 0.0,
    kinds: Collection[LeftoverKind] = ALL_KINDS,
    superseded: bool = False,
) -> Pruning:
    """Return what tidying the cache at ``root`` deletes. Deletes nothing.

    ``older_than_s``: leftovers written later stay. ``superseded``: also whole revisions with models
    in them that no branch or tag points to, of repositories in which one points to another.
    """
    root = Path(os.path.abspath(root))
    found = [each for each in find_leftovers(root) if each.kind in kinds]
    goes = [each for each in found if not each.in_use and each.age_s >= older_than_s]
    removal = plan_files(
        [path for path in _superseded(root)] if superseded else [],
        root,
        also_gone={each.path for each in goes},
        everywhere=True,
    )
    return Pruning(
        leftovers=tuple(goes),
        kept_back=tuple(each for each in found if each not in goes),
        superseded=removal,
    )


def prune(pruning: Pruning) -> int:
    """Delete what a plan says and what nobody needs by now; return how many bytes that freed.

    Raises LocalLLMError for a file that cannot be deleted, and where another process has a lock on
    a file of a superseded revision.
    """
    root = pruning.superseded.root
    n_freed = 0
    for leftover in pruning.leftovers:
        n_freed += _delete_leftover(leftover, root)
    n_freed += delete(pruning.superseded)
    for grave in graves(root):
        delete_empty(grave)
    return n_freed


def _delete_leftover(leftover: Leftover, root: Path) -> int:
    path = leftover.path
    if leftover.kind == "dangling":
        return 0 if os.path.exists(path) else delete_file(path)
    if leftover.repo is None:
        return shared_store.sweep(path, root)
    lock = lock_of(path, root)
    with hold([lock] if lock is not None else []) as refused:
        if refused or (leftover.kind == "orphan" and is_needed(path, Links(root))):
            return 0
        return delete_file(path)


def _superseded(root: Path) -> Iterator[Path]:
    """Yield the files of revisions that were replaced."""
    for folder in model_folders(root, []):
        commits = commits_here(folder, [])
        current = set(read_refs(folder, []).commits.values())
        if not current & set(commits):
            continue
        for commit in commits:
            files = snapshot_files(folder, commit, [])
            if commit not in current and any(_is_model(file.name) for file in files):
                yield from (file.path for file in files)


def _is_model(name: str) -> bool:
    return name.lower().endswith(".gguf")
