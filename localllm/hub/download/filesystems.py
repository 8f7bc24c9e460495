"""The file system that a folder lies on, where its kind decides how a download may be written."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
_NETWORKED = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "nfs", "nfs4"}
    | {"orangefs", "pvfs2", "smb3", "smbfs", "wekafs"}
)
_OCTAL = re.compile(rb"\\([0-7]{3})")
_FAT = frozenset({"vfat", "msdos"})
_FAT_BYTES = 2**32 - 1


def kind_of(folder: Path, *, mounts: Path = MOUNTS) -> str | None:
    """Return the kind of file system below a folder, as Linux names it; None where it is unknown.

    ``mounts`` is in the format of proc(5), ``/proc/<pid>/mountinfo``.
    """
    try:
        lines = mounts.read_bytes().splitlines()
        wanted = os.fsencode(os.path.realpath(folder)).rstrip(b"/") + b"/"
    except OSError:
        return None
    found: tuple[int, str] | None = None
    for line in lines:
        before, dash, after = line.partition(b" - ")
        fields = before.split(b" ")
        if not dash or len(fields) < 5:
            continue
        point = _OCTAL.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), fields[4])
        point = point.rstrip(b"/") + b"/"
        # of two mounts at one place the later one hides the other
        if wanted.startswith(point) and (found is None or len(point) >= found[0]):
            found = len(point), after.split(b" ")[0].decode(errors="replace")
    return found[1] if found else None


def is_networked(kind: str | None) -> bool:
    """Whether other machines may write there too, so that a lock of this one may mean nothing."""
    return kind is not None and (kind in _NETWORKED or kind.startswith("fuse."))


def largest_file_bytes(kind: str | None) -> int | None:
    """Return the size that no file there can exceed; None where there is no such small limit."""
    return _FAT_BYTES if kind in _FAT else None
