"""The names by which a content is found in the cache: a revision's file, a branch's commit.

Each appears complete or not at all: made under another name first, then renamed. Where links are
not to be had the file itself lies in the revision's folder, as huggingface_hub has it.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from localllm.hub.cache_layout import SHA1, RepoFolder
from localllm.hub.download.disk_errors import disk_error
from localllm.hub.tokens import TRUE

_NO_LINKS = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
)


def leads_to(snapshot: Path, blob: Path) -> bool:
    """Whether a revision's file is the link to a content in its repository's folder."""
    try:
        return os.path.normpath(snapshot.parent / snapshot.readlink()) == os.path.normpath(blob)
    except OSError:
        return False


def place(
    blob: Path, snapshot: Path, *, snapshots: Path, environ: Mapping[str, str] = os.environ
) -> None:
    """Make a content found as a revision's file. Raises LocalLLMError.

    ``snapshots``: the folder of all revisions. Where there are no links, or the person wants none
    (``HF_HUB_DISABLE_SYMLINKS``), the content moves there if no other revision has it.
    """
    try:
        snapshot.parent.mkdir(parents=True, exist_ok=True)
        if environ.get("HF_HUB_DISABLE_SYMLINKS", "").lower() not in TRUE:
            to = os.path.relpath(blob, snapshot.parent)
            try:
                _appear(snapshot, blob.parent, lambda temporary: os.symlink(to, temporary))
                return
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
        if blob.is_symlink() or _is_used(blob, snapshots):
            _appear(snapshot, blob.parent, lambda temporary: _copy(blob, temporary))
        else:
            os.replace(blob, snapshot)
    except OSError as error:
        raise disk_error(error, snapshot) from None


def write_ref(folder: RepoFolder, revision: str, commit: str) -> None:
    """Let a branch or tag point to a commit; a revision that is a commit needs nothing.

    To be done when all its files are here: other tools take the revision for whole. Raises
    LocalLLMError where it cannot be written.
    """
    if SHA1.fullmatch(revision):
        return
    ref = folder.ref(revision)
    try:
        if ref.is_file() and ref.read_bytes() == commit.encode():
            return
        for place_of in (ref.parent, folder.blobs):
            place_of.mkdir(parents=True, exist_ok=True)
        # no newline: huggingface_hub takes the whole text for the commit
        _appear(ref, folder.blobs, lambda temporary: _write(temporary, commit))
    except OSError as error:
        raise disk_error(error, ref) from None


def _appear(path: Path, blobs: Path, make: Callable[[Path], object]) -> None:
    """Make something under a name of this process, then give it its own. Raises OSError.

    It is made among the ``blobs``. A process that is killed leaves it there, where no tool looks
    for anything: in ``refs`` it would be one more branch, and one that is still empty makes
    huggingface_hub 2.4 take the whole repository for corrupt.
    """
    temporary = blobs / f".{secrets.token_hex(8)}.tmp"  # a long name has no room for more
    try:
        make(temporary)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _write(path: Path, text: str) -> None:
    with path.open("x") as file:
        file.write(text)


def _copy(blob: Path, to: Path) -> None:
    """Give a content a second name, or where that is not to be had, a copy."""
    real = blob.resolve()
    try:
        os.link(real, to)
    except OSError:
        shutil.copyfile(real, to)


def _is_used(blob: Path, snapshots: Path) -> bool:
    """Whether a revision's file leads to a content."""
    for folder, _, names in os.walk(snapshots):
        for name in names:
            path = Path(folder, name)
            with suppress(OSError):
                if path.is_symlink() and path.readlink().name == blob.name:
                    return True
    return False
