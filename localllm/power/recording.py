"""What one meter said so far: two columns of numbers, bounded, safe to copy from any thread."""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from contextlib import suppress

from localllm.core.metered.readings import Reading, Source, Trace
from localllm.power.meter import Meter, MeterLost

MAX_READINGS = 1 << 16
"""An hour at 18 readings a second, in 1 MiB; the older half goes when it is full."""


class Recording:
    """A meter, read by one thread, and its readings, which any thread may ask for."""

    def __init__(self, meter: Meter) -> None:
        """Take a meter; it is closed with ``close``, or when it is lost."""
        self.source: Source = meter.source
        self.lost: str | None = None
        self._meter = meter
        self._lock = threading.Lock()
        self._times = array("d")
        self._values = array("d")

    def look(self) -> None:
        """Read once and keep it; a meter that is lost is closed, with its reason in ``lost``."""
        if self.lost is not None:
            return
        try:
            reading = self._meter.read()
        except MeterLost as lost:
            self.lost = lost.reason
        except Exception as error:  # a broken meter must not end a chat, nor vanish without a word
            self.lost = f"the meter failed: {type(error).__name__}: {error}"
        else:
            if reading is not None:
                self.keep(reading)
            return
        self.close()

    def keep(self, reading: Reading) -> None:
        """Remember the joules of a counter, the watts of anything else."""
        value = reading.joules if self.source.kind == "counter" else reading.watts
        if value is None:
            return
        with self._lock:
            if len(self._times) >= MAX_READINGS:
                del self._times[: MAX_READINGS // 2]
                del self._values[: MAX_READINGS // 2]
            self._times.append(reading.t_s)
            self._values.append(value)

    def trace(self, since_s: float | None, slept_s: tuple[float, ...]) -> Trace:
        """Return the readings so far, from the last one before ``since_s`` on."""
        with self._lock:
            first = 0 if since_s is None else max(bisect_left(self._times, since_s) - 1, 0)
            times, values = self._times[first:], self._values[first:]
        pairs = zip(times, values, strict=True)
        if self.source.kind == "counter":
            readings = tuple(Reading(t_s=t_s, joules=joules) for t_s, joules in pairs)
        else:
            readings = tuple(Reading(t_s=t_s, watts=watts) for t_s, watts in pairs)
        return Trace(source=self.source, readings=readings, lost=self.lost, slept_s=slept_s)

    def close(self) -> None:
        """Close the meter."""
        with suppress(Exception):  # it has ended; nobody can do anything about it any more
            self._meter.close()
