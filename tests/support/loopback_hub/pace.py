"""How fast the loopback Hub sends: one link, shared by all answers."""

from __future__ import annotations

import threading
import time

_STEP_S = 0.02
_LEAST_BYTES = 1024


class Pace:
    """Bytes a second over all connections; None: as fast as the machine can."""

    def __init__(self, closing: threading.Event) -> None:
        self.rate: float | None = None
        self._closing = closing
        self._free_at_s = 0.0
        self._lock = threading.Lock()

    def piece_bytes(self, most: int) -> int:
        """How much to send at once."""
        rate = self.rate
        return most if rate is None else min(most, max(_LEAST_BYTES, int(rate * _STEP_S)))

    def wait_for(self, n_bytes: int) -> None:
        """Wait until the link has room for so many bytes."""
        rate = self.rate
        if rate is None:
            return
        with self._lock:
            now_s = time.monotonic()
            starts_s = max(self._free_at_s, now_s)
            self._free_at_s = starts_s + n_bytes / rate
            wait_s = self._free_at_s - now_s
        self._closing.wait(wait_s)
