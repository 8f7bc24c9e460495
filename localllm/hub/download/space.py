"""Room on the disk for a download: asked before its first byte, because hours later is worse.

What another program writes in the meantime is nobody's to know: a disk that fills up half-way is
an error of the writing, and the part stays.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from localllm.errors import LocalLLMError
from localllm.hub.cache_layout import RepoFolder
from localllm.hub.download.wanted import WantedFile
from localllm.units import MiB, format_bytes

LEAST_MARGIN_BYTES = 1 * MiB
MOST_MARGIN_BYTES = 256 * MiB
_MARGIN_SHARE = 64
_BLOCK_BYTES = 512
"""What ``st_blocks`` counts in, whatever the file system's own blocks are."""


def margin_bytes(n_bytes: int) -> int:
    """Return what is to stay free beside so many bytes.

    A 64th, from 1 to 256 MiB: for what the file system itself writes down, and so that the other
    programs of the machine can go on.
    """
    return min(max(n_bytes // _MARGIN_SHARE, LEAST_MARGIN_BYTES), MOST_MARGIN_BYTES)


def missing_bytes(wanted: Iterable[WantedFile], root: Path, *, counts_whole: bool = True) -> int:
    """Return what is still to be written of these files, one content counted once.

    ``root`` is the cache's folder. Parts need only their rest, and files that are here whole
    nothing; with ``counts_whole`` False these are wrong, and stay until the right ones are here.
    """
    missing: dict[str, int] = {}
    for file in wanted:
        content = file.sha256 or f"{file.commit} {file.path}"
        folder = RepoFolder(root=root, repo=file.repo)
        missing[content] = file.n_bytes - _here_bytes(file, folder, counts_whole=counts_whole)
    return sum(missing.values())


def check_space(wanted: Iterable[WantedFile], root: Path, *, counts_whole: bool = True) -> None:
    """Raise LocalLLMError (exit 1) where the rest of these files has no room on their disk.

    What counts as the rest is for ``missing_bytes`` to say.
    """
    files = tuple(wanted)
    n_missing = missing_bytes(files, root, counts_whole=counts_whole)
    if n_missing == 0:
        return
    folder = RepoFolder(root=root, repo=files[0].repo).blobs
    n_free = free_bytes(folder)
    n_needed = n_missing + margin_bytes(n_missing)
    if n_free is None or n_needed <= n_free:
        return
    raise LocalLLMError(
        f"The download needs {format_bytes(n_needed)} ({n_needed:,} bytes) and {root} has"
        f" {format_bytes(n_free)} ({n_free:,} bytes) free.",
        hint="Make room (localllm list shows what is kept), or name a folder on another disk with"
        " HF_HUB_CACHE.",
    )


def free_bytes(folder: Path) -> int | None:
    """Return what can be written where a folder is or would be; None where no one knows."""
    for here in (folder, *folder.parents):
        try:
            usage = shutil.disk_usage(here)
        except OSError:  # not there yet
            continue
        # some file systems of remote stores state no size at all, and then no free space either
        return usage.free if usage.total else None
    return None


def _here_bytes(file: WantedFile, folder: RepoFolder, *, counts_whole: bool) -> int:
    """How much of a file is here and stays, from 0 to all of it."""
    whole = [folder.snapshot(file.commit, file.path)]
    if file.sha256 is not None:
        whole.append(folder.blob(file.sha256))
    if counts_whole and any(_size(path) == file.n_bytes for path in whole):
        return file.n_bytes
    if file.sha256 is None:
        return 0
    try:
        part = os.stat(folder.part(file.sha256))
    except OSError:
        return 0
    # only what has blocks: a hole in a part is room that is still to be taken
    return min(part.st_size, part.st_blocks * _BLOCK_BYTES, file.n_bytes)


def _size(path: Path) -> int | None:
    """The size of a file at the end of its links; None where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return None
