"""What tests ask about other processes."""

from __future__ import annotations

import time
from pathlib import Path


def gone(pid: int, within_s: float = 5.0) -> bool:
    """Whether a process ends in time. A zombie that nobody has reaped has ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:  # gone before it was opened, or while it was read
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False
