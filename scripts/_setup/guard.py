"""Runs one command and ends it when the set-up dies, however it dies.

    python guard.py FD COMMAND...

The set-up holds the other end of the pipe FD. When that end closes, by kill -9 as well as by
Ctrl-C, the command's process group gets SIGTERM (ninja passes it on to its compilers, which have
groups of their own, and removes half-written objects), then SIGKILL. The guard inherits the
set-up's locks, so they are held until that is done: no later set-up meets a pip that is still
writing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

GRACE_S = 3.0


def main() -> int:
    """Exit status of the command, 128 + n where signal n ended it."""
    pipe = int(sys.argv[1])
    command = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, process_group=0)
    ending = threading.Event()

    def end_with_the_setup() -> None:
        os.read(pipe, 1)  # nothing is ever written: returns at the end of the file
        ending.set()
        _signal_group(command.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline and _signal_group(command.pid, 0):
            time.sleep(0.05)
        _signal_group(command.pid, signal.SIGKILL)

    watch = threading.Thread(target=end_with_the_setup, daemon=True)
    watch.start()
    status = command.wait()
    if ending.is_set():
        watch.join()
    return status if status >= 0 else 128 - status


def _signal_group(group: int, number: int) -> bool:
    """Sends a signal (0: only asks) to a process group; False where the group is gone."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
