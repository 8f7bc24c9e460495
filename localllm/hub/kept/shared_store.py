"""Blobs that repositories share: huggingface_hub's store of Xet files, and who needs what in it.

As its ``utils/_shared_blobs.py`` (2.4.0) has it::

    <root>/blobs/.huggingface-shared-blobs   "1\\n": huggingface_hub's store, in this layout
    <root>/blobs/<2 hex>/<xet hash>          content
    <root>/blobs/<2 hex>/<xet hash>.refs     who links to it: models--a--b/blobs/<etag>, one a line
    <root>/blobs/<2 hex>/<xet hash>.lock     flock of who changes either
    <root>/models--a--b/blobs/<etag>         relative link to the content

A line of ``.refs`` counts only as long as the link is there. A content whose ``.refs`` cannot be
read is never deleted: better a few gigabytes too many than another repository's file gone.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from localllm.hub.kept.disk import entries, first_step
from localllm.hub.kept.locks import hold

_XET_HASH = re.compile(r"[0-9a-f]{64}")
_REFERENCE = re.compile(r"(?:models|datasets|spaces|kernels)--[^/\n\r]+/blobs/[^/\n\r]+")
_MARKER = ".huggingface-shared-blobs"
_VERSION = b"1\n"
_MAX_REFS_BYTES = 16 << 20


def is_store(root: Path) -> bool:
    """Whether the cache has a shared store of the layout that is known here."""
    try:
        with (root / "blobs" / _MARKER).open("rb") as file:
            return file.read(len(_VERSION) + 1) == _VERSION
    except OSError:
        return False


def content_of(blob: Path, root: Path) -> Path | None:
    """Return the content in the store that a repository's blob links to; None for any other."""
    target = first_step(blob)
    if target is None or target.parent.parent != root / "blobs":
        return None
    if not _XET_HASH.fullmatch(target.name) or target.parent.name != target.name[:2]:
        return None
    return target if _is_plain(target) else None


def contents(root: Path, notes: list[str]) -> list[Path]:
    """Return every content in the store."""
    if not is_store(root):
        return []
    return [
        root / "blobs" / prefix.name / entry.name
        for prefix in entries(root / "blobs", notes)
        for entry in entries(root / "blobs" / prefix.name, notes)
        if _XET_HASH.fullmatch(entry.name)
        and entry.name.startswith(prefix.name)
        and _is_plain(root / "blobs" / prefix.name / entry.name)
    ]


def users_of(content: Path, root: Path) -> frozenset[Path] | None:
    """Return the blobs that link to a content; None where nobody can know all of them."""
    refs = manifest_of(content)
    try:
        if not _is_plain(refs) or refs.stat().st_size > _MAX_REFS_BYTES:
            return None
        lines = refs.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError):
        return None
    named = (root / line for line in lines if _REFERENCE.fullmatch(line) and "/../" not in line)
    return frozenset(blob for blob in named if first_step(blob) == content)


def manifest_of(content: Path) -> Path:
    """Return the file that says who links to a content."""
    return content.with_name(f"{content.name}.refs")


def sweep(content: Path, root: Path) -> int:
    """Delete a content that nobody links to any more, and return how many bytes that freed.

    Under its lock; 0 where somebody links to it, or where that cannot be known or done.
    """
    if not is_store(root):
        return 0
    with hold([content.with_name(f"{content.name}.lock")]) as refused:
        if refused or users_of(content, root) != frozenset():
            return 0
        n_freed = 0
        for path in (content, manifest_of(content)):
            try:
                n_bytes = path.stat().st_size
                path.unlink()
            except OSError:
                return n_freed
            n_freed += n_bytes
        return n_freed


def _is_plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False
