"""The memory that one process holds at the moment."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def resident_bytes(pid: int, *, root: Path = Path("/")) -> int | None:
    """Return the resident memory of a process, pages of mapped files included.

    None where there is no such process, or where the system does not tell. Takes some 20 µs on
    Linux: a display may ask a few times a second.
    """
    if root != Path("/") or sys.platform.startswith("linux"):
        try:  # proc_pid_statm(5): size and resident come first, in pages
            resident = (root / "proc" / str(pid) / "statm").read_text().split()[1]
            return int(resident) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError, ValueError):
            return None
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, OSError):
        return None
