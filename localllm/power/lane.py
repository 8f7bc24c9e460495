"""One meter or watcher and the thread that reads it: a driver that hangs delays nobody else.

While its sampler rests, the thread waits on a condition without a timeout: no call, no wake-up.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from localllm.core.readings import Health, Reading, Trace
from localllm.power.meter import Meter, MeterLost, Watcher

FASTEST_S = 0.05
SLOWEST_S = 0.5
HEALTH_S = 1.0

REST_S = 0.1
"""A driver that takes its time is left alone between two looks for as long as it took, at most
this: longer would be a hole in the readings (``core/stretches.py``)."""

MAX_READINGS = 1 << 16
"""About an hour at the fastest rate, in 1 MiB; the older half goes when it is full."""

MAX_HEALTHS = 900


def interval_s(period_s: float) -> float:
    """Return how long to wait between two readings of a sensor that moves every ``period_s``.

    Half a period catches each new value within half a period of its birth (Zeus polls so too). A
    sensor that moves faster than anybody can follow, such as RAPL's every millisecond, gains
    nothing from more than ten looks a second: its edges are marked (``Sampler.mark``).
    """
    if period_s < FASTEST_S:
        return 2 * FASTEST_S
    return min(max(period_s / 2, FASTEST_S), SLOWEST_S)


class Gate:
    """What the threads of one sampler wait for: rest, work, a mark, the end."""

    def __init__(self) -> None:
        """Begin at rest."""
        self.changed = threading.Condition()
        self.answered = threading.Condition()
        """Told of every look. Apart from ``changed``, so that one lane's look wakes no other."""
        self.running = False
        self.closing = False
        self.mark = 0
        """Counts the moments at which everybody must look at once."""

    def set(self, *, running: bool | None = None, closing: bool = False, mark: bool = False) -> int:
        """Change the state, wake everybody, and return the number of the latest mark."""
        with self.changed:
            self.running = self.running if running is None else running
            self.closing = self.closing or closing
            self.mark += mark
            self.changed.notify_all()
            return self.mark

    def wait_for_work(self) -> int | None:
        """Wait while at rest; return the number of the mark to answer, or None at the end."""
        with self.changed:
            while not (self.running or self.closing):
                self.changed.wait()
            return None if self.closing else self.mark

    def wait_for_turn(self, seconds: float, mark: int) -> None:
        """Wait until the next turn, a mark newer than ``mark``, rest or the end."""
        with self.changed:
            self.changed.wait_for(
                lambda: self.closing or not self.running or self.mark != mark, seconds
            )


class Lane(threading.Thread):
    """Calls ``look`` at its interval while the gate is open, and ``close`` at the end."""

    def __init__(
        self,
        gate: Gate,
        *,
        name: str,
        every_s: float,
        clock: Callable[[], float],
        before: Callable[[], None],
    ) -> None:
        """``before`` is called before each look: the sampler's watch for a suspend."""
        super().__init__(name=f"localllm-power-{name}", daemon=True)
        self._gate = gate
        self._every_s = every_s
        self._clock = clock
        self._before = before
        self.answered = 0
        """The latest mark after which this lane has looked."""
        self.ended = False

    def run(self) -> None:
        """Look until the end, or until there is nothing to see any more."""
        try:
            while (mark := self._gate.wait_for_work()) is not None:
                began = self._clock()
                self._before()
                more = self.look()
                self._answer(mark)
                if not more:
                    return
                took = self._clock() - began
                self._gate.wait_for_turn(max(self._every_s - took, min(took, REST_S)), mark)
        finally:
            self.ended = True
            self._answer(self._gate.mark)
            self.let_go()

    def _answer(self, mark: int) -> None:
        with self._gate.answered:
            self.answered = mark
            self._gate.answered.notify_all()

    def look(self) -> bool:
        """Look once; False when there is nothing to see any more."""
        raise NotImplementedError

    def let_go(self) -> None:
        """Close what is looked at."""
        raise NotImplementedError


class MeterLane(Lane):
    """A meter and its readings, as two columns of numbers: small, and nothing to collect."""

    def __init__(
        self, gate: Gate, meter: Meter, clock: Callable[[], float], before: Callable[[], None]
    ) -> None:
        """Take a meter; it is this thread's from here on."""
        self.source = meter.source
        super().__init__(
            gate,
            name=self.source.device,
            every_s=interval_s(self.source.period_s),
            clock=clock,
            before=before,
        )
        self._meter = meter
        self._lock = threading.Lock()
        self._times = array("d")
        self._values = array("d")
        self._lost: str | None = None

    def look(self) -> bool:
        """Keep one reading."""
        try:
            reading = self._meter.read()
        except MeterLost as lost:
            self._lost = lost.reason
            return False
        except Exception as error:  # a broken meter must not end a chat, nor vanish without a word
            self._lost = f"the meter failed: {type(error).__name__}: {error}"
            return False
        if reading is not None:
            value = reading.joules if self.source.kind == "counter" else reading.watts
            if value is not None:
                self.keep(reading.t_s, value)
        return True

    def let_go(self) -> None:
        """Close the meter."""
        with suppress(Exception):  # it has ended; nobody can do anything about it any more
            self._meter.close()

    def keep(self, t_s: float, value: float) -> None:
        """Remember joules or watts, by the kind of the source."""
        with self._lock:
            if len(self._times) >= MAX_READINGS:
                del self._times[: MAX_READINGS // 2]
                del self._values[: MAX_READINGS // 2]
            self._times.append(t_s)
            self._values.append(value)

    def trace(self, since_s: float | None, slept_s: tuple[float, ...]) -> Trace:
        """Return the readings so far, from the last one before ``since_s`` on."""
        with self._lock:
            first = 0 if since_s is None else max(bisect_left(self._times, since_s) - 1, 0)
            times, values = self._times[first:], self._values[first:]
        counts = self.source.kind == "counter"
        pairs = zip(times, values, strict=True)
        readings = (
            tuple(Reading(t_s=t, joules=v) for t, v in pairs)
            if counts
            else tuple(Reading(t_s=t, watts=v) for t, v in pairs)
        )
        return Trace(source=self.source, readings=readings, lost=self._lost, slept_s=slept_s)


class WatcherLane(Lane):
    """A watcher and what it saw."""

    def __init__(
        self,
        gate: Gate,
        watcher: Watcher,
        index: int,
        clock: Callable[[], float],
        before: Callable[[], None],
    ) -> None:
        """Take a watcher; it is this thread's from here on."""
        super().__init__(gate, name=f"health-{index}", every_s=HEALTH_S, clock=clock, before=before)
        self._watcher = watcher
        self._seen: deque[Health] = deque(maxlen=MAX_HEALTHS)

    def look(self) -> bool:
        """Keep one look at the device."""
        try:
            health = self._watcher.health()
        except Exception:  # health is beside the point of a chat; without it, nothing is shown
            return False
        if health is not None:
            self._seen.append(health)
        return True

    def let_go(self) -> None:
        """Close the watcher."""
        with suppress(Exception):  # as above
            self._watcher.close()

    def latest(self) -> Health | None:
        """Return the last look."""
        seen = self._seen
        try:
            return seen[-1]
        except IndexError:
            return None

    def since(self, since_s: float) -> tuple[Health, ...]:
        """Return the looks since a moment."""
        return tuple(health for health in self._seen.copy() if health.t_s >= since_s)
