"""The shipped program on a machine with chosen files: a mount namespace of our own, no root needed.

Nothing is replaced in the program: it reads ``/proc`` and ``/sys`` as ever.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest


def _allowed() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0


needs_namespaces = pytest.mark.skipif(not _allowed(), reason="user namespaces are not allowed here")


def inside(mounts: Mapping[str, Path], *command: str) -> list[str]:
    """Return a command line that runs ``command`` with files and folders mounted over real ones."""
    script = " && ".join(f"mount --bind '{here}' '{there}'" for there, here in mounts.items())
    return ["unshare", "-rm", "sh", "-c", f'{script} && exec "$@"', "sh", *command]


@contextmanager
def counting(path: Path, watts: float) -> Iterator[None]:
    """Let a RAPL counter of microjoules run at ``watts``, every millisecond, in place."""
    ended = threading.Event()
    began_s = time.monotonic()

    def run() -> None:
        with path.open("r+b", buffering=0) as file:
            while not ended.wait(0.001):
                microjoules = int((time.monotonic() - began_s) * watts * 1e6) + 10**9
                os.pwrite(file.fileno(), f"{microjoules:018d}\n".encode(), 0)

    writer = threading.Thread(target=run)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()
