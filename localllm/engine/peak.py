"""The most memory that this process ever had."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def peak_rss_bytes(status: Path = Path("/proc/self/status")) -> int | None:
    """Return the peak of the resident memory; None where the system does not tell.

    Not by ``getrusage`` on Linux: that counts what the parent had when it started this process.
    """
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        found = _PEAK.search(status.read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
