"""Folders of a repository that hold nothing any more, and the references that point to them.

huggingface_hub takes a repository for damaged when a reference names a revision that has no folder,
or when ``snapshots`` is missing: so references go before the folder they name, and ``snapshots``
goes with the repository only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from localllm.hub.cache_layout import RepoFolder
from localllm.hub.kept.disk import entries, is_folder, read_refs, walk

SETTLED_S = 3600.0
"""An empty folder that was made a moment ago may be about to get its first file."""
_KNOWN = frozenset({"blobs", "snapshots", "refs", ".no_exist"})
NOT_THERE = ".no_exist"
"""huggingface_hub's list of files that a revision does not have: empty files by their names."""


def emptied(folder: RepoFolder, gone: Collection[Path]) -> tuple[Path, ...]:
    """Return what of a repository's folders and references is of no use once ``gone`` is deleted.

    In the order of deletion. Folders that were empty before are among them only after an hour.
    """
    refs = read_refs(folder, []).commits
    here = [each for each in entries(folder.snapshots, []) if is_folder(each)]
    ends: list[Path] = []
    for entry in here:
        folders = list(_empty_folders(folder.snapshots / entry.name, gone))
        if folder.snapshots / entry.name in folders:
            ends += [folder.refs / name for name, commit in refs.items() if commit == entry.name]
        ends += folders
    if not _is_left_empty(folder, gone, {*ends}):
        return tuple(ends)
    rest = [path for path, _ in walk(folder.refs, []) if path not in ends]
    not_there = folder.folder / NOT_THERE
    return (*ends, *rest, *([not_there] if not_there.is_dir() else []), folder.folder)


def _empty_folders(folder: Path, gone: Collection[Path]) -> Iterator[Path]:
    """Yield the folders at and below ``folder`` that hold only what goes, innermost first."""
    found = entries(folder, [])
    is_empty = True
    for entry in found:
        path = folder / entry.name
        if is_folder(entry):
            inner = list(_empty_folders(path, gone))
            yield from inner
            is_empty = is_empty and path in inner
        else:
            is_empty = is_empty and path in gone
    if is_empty and (found or _is_settled(folder)):
        yield folder


def _is_left_empty(folder: RepoFolder, gone: Collection[Path], ends: Collection[Path]) -> bool:
    """Whether nothing but empty folders is left of a repository."""
    if folder.folder.is_symlink():  # somebody keeps it on another disk
        return False
    outside = [each for each in entries(folder.folder, []) if each.name not in _KNOWN]
    snapshots = [each for each in entries(folder.snapshots, [])]
    blobs = [each for each in entries(folder.blobs, [])]
    is_empty = (
        not outside
        and all(folder.snapshots / each.name in ends for each in snapshots)
        and all(folder.blobs / each.name in gone for each in blobs)
    )
    return is_empty and (bool(snapshots or blobs) or _is_settled(folder.folder))


def _is_settled(folder: Path) -> bool:
    try:
        return time.time() - os.stat(folder).st_mtime > SETTLED_S
    except OSError:
        return False
