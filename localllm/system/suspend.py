"""Whether the machine was suspended: one clock stands still meanwhile, another goes on."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

LEAST_SLEEP_S = 0.5
"""By how much the clock that counts a suspend must run ahead: below is scheduling, not sleep."""


def boottime() -> float:
    """Return seconds of a clock that goes on while the machine is suspended.

    Linux: ``CLOCK_BOOTTIME``. macOS: ``CLOCK_MONOTONIC``, which counts sleep there, unlike Python's
    ``time.monotonic``, which is ``mach_absolute_time``. Elsewhere no suspend is seen.
    """
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()


class SuspendWatch:
    """Notices suspends between two looks. Safe from any thread."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        boottime: Callable[[], float] = boottime,
    ) -> None:
        """Look for the first time."""
        self._clock, self._boottime = clock, boottime
        self._lock = threading.Lock()
        self._looked_s, self._ahead_s = self._clocks()

    def look(self) -> tuple[float, float] | None:
        """Return the last look and this one, by ``clock``, if a suspend lies between the two."""
        with self._lock:
            before_s, before_ahead_s = self._looked_s, self._ahead_s
            now_s, ahead_s = self._clocks()
            if ahead_s - before_ahead_s >= LEAST_SLEEP_S:
                # Once more: this thread may have stood still between the two clocks.
                now_s, ahead_s = self._clocks()
            self._looked_s, self._ahead_s = now_s, ahead_s
            return (before_s, now_s) if ahead_s - before_ahead_s >= LEAST_SLEEP_S else None

    def _clocks(self) -> tuple[float, float]:
        """The time, and by how much the clock that counts a suspend is ahead of it."""
        now_s = self._clock()
        return now_s, self._boottime() - now_s
