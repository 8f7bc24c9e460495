"""Deleting from the cache while other programs use it: under the locks, looked at once more.

Between a plan and its execution a person may have thought for an hour. A blob that somebody links
to by now stays, and so does a folder that is no longer empty.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from localllm.core.kept import Removal
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.hub.kept import shared_store
from localllm.hub.kept.disk import entries, is_folder, walk
from localllm.hub.kept.emptied import NOT_THERE
from localllm.hub.kept.links import Links
from localllm.hub.kept.locks import hold

_ETAG = re.compile(r"([0-9a-f]{64}|[0-9a-f]{40})(?![0-9a-f])")
_COMMIT = re.compile(rb"[0-9a-f]{40}")
_GRAVE = ".removed"
"""Ends the name of a repository's folder on its way out, among the locks, where nobody looks."""


def lock_of(path: Path, root: Path) -> Path | None:
    """Return the lock of a blob or of a part of one; None for a path that has none."""
    match = _ETAG.match(path.name.lstrip("."))
    if match is None or path.parent.name != "blobs" or path.parent.parent.parent != root:
        return None
    return root / ".locks" / path.parent.parent.name / f"{match[1]}.lock"


def delete(removal: Removal, *, force: bool = False) -> int:
    """Delete what ``removal`` says and nobody needs by now; return the bytes that it freed.

    Raises LocalLLMError where another process has a lock, unless ``force``; nothing is deleted
    then. Raises it for a file that cannot be deleted, with the rest left as it is.
    """
    locks = [lock for path in removal.delete if (lock := lock_of(path, removal.root)) is not None]
    with hold(locks) as refused:
        if refused and not force:
            raise LocalLLMError(
                "Another process is downloading or checking a file that would be removed.",
                hint="Wait until that has ended. --force removes it all the same.",
            )
        return _delete_all(removal)


def delete_file(path: Path) -> int:
    """Delete a file or link, and return the bytes that freed. Raises LocalLLMError."""
    try:
        status = path.lstat()
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise LocalLLMError(
            f"{printable(str(path))} could not be deleted: {error.strerror}.",
            hint="What was deleted before is gone; the same again deletes the rest.",
        ) from None
    return status.st_size if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0


def delete_empty(folder: Path) -> None:
    """Delete a folder, and those in it, as far as there is no file in them."""
    for here, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(here)


def graves(root: Path) -> Iterator[Path]:
    """Yield the folders of repositories that a killed process did not get rid of."""
    for entry in entries(root / ".locks", []):
        if entry.name.endswith(_GRAVE) and is_folder(entry):
            yield root / ".locks" / entry.name


def _delete_all(removal: Removal) -> int:
    root = removal.root
    links: Links | None = None
    n_freed = 0
    for path in removal.delete:
        match path.relative_to(root).parts:
            case [_]:
                _drop(path, root)
            case ["blobs", _, _]:
                n_freed += shared_store.sweep(path, root)
            case [".locks", _]:
                delete_empty(path)
            case [_, "blobs", _]:
                links = links or Links(root)
                if not links.to(path):
                    n_freed += delete_file(path)
            case [folder, "refs", *_]:
                if _points_nowhere(path, root / folder):
                    n_freed += delete_file(path)
            case [_, name] if name == NOT_THERE:
                shutil.rmtree(path, ignore_errors=True)
            case _ if path.is_dir() and not path.is_symlink():
                with suppress(OSError):  # somebody put something into it
                    path.rmdir()
            case _:
                n_freed += delete_file(path)
    return n_freed


def _points_nowhere(ref: Path, folder: Path) -> bool:
    """Whether a reference names a revision without a file, to which no download brings one."""
    try:
        text = ref.read_bytes()[:200].strip()
    except OSError:
        return False
    if _COMMIT.fullmatch(text):
        revision = folder / "snapshots" / text.decode()
        if revision.is_dir():
            return next(walk(revision, []), None) is None
    return not entries(folder / "blobs", [])


def _drop(folder: Path, root: Path) -> None:
    """Delete a repository's folder that holds only empty folders.

    It is moved away in one step: a folder without ``snapshots`` would be a damaged repository.
    """
    if folder.is_symlink() or next(walk(folder, []), None) is not None:
        return
    grave = root / ".locks" / f"{folder.name}.{os.getpid()}{_GRAVE}"
    try:
        grave.parent.mkdir(exist_ok=True)
        folder.rename(grave)
    except OSError:  # the locks are on another disk
        grave = folder
    delete_empty(grave)
    if grave is not folder and grave.exists() and not folder.exists():
        with suppress(OSError):
            grave.rename(folder)  # somebody put something into it at the last moment
