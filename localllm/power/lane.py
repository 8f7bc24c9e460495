"""The threads that read meters: one for each driver, so that one that hangs delays nobody else.

While their sampler rests they wait on a condition without a timeout: no call, no wake-up. A wake-up
costs more than a look (30 to 100 µs against 5 to 20, on a 2-core virtual machine), hence few
threads, and few looks where many add nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from localllm.core.metered.readings import Health, Source
from localllm.power.meter import Watcher
from localllm.power.recording import Recording

FASTEST_S = 0.05
SLOWEST_S = 0.5
STEADY_S = 0.4
"""Between two looks at a counter far from any edge: nothing is lost between its ticks, and a
display that moves two to four times a second has something new. On a processor that decodes with
all its cores, each wake-up holds them all up."""

FAST_S = 1.0
"""For so long after an edge a counter is read as fast as it moves."""

HEALTH_S = 1.0
MAX_HEALTHS = 900

REST_S = 0.1
"""A driver that takes its time is left alone between two looks for as long as it took, at most
this: longer would be a hole in the readings (``core/metered/stretches.py``)."""


def intervals_s(source: Source) -> tuple[float, float]:
    """Return how long to wait between two readings, next to an edge and far from one.

    Half a period catches each new value within half a period of its birth (Zeus polls so too); a
    sensor that moves faster than anybody can follow, such as RAPL's every millisecond, gains
    nothing from that. An average changes too slowly for half a period to tell more than a whole.
    """
    period_s = source.period_s if source.kind == "average" else source.period_s / 2
    fast_s = 2 * FASTEST_S if period_s < FASTEST_S / 2 else max(period_s, FASTEST_S)
    fast_s = min(fast_s, SLOWEST_S)
    return fast_s, max(fast_s, STEADY_S) if source.kind == "counter" else fast_s


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
            if self.running and not self.closing and self.mark == mark:
                self.changed.wait(seconds)


class Lane(threading.Thread):
    """Calls ``look`` in turns while the gate is open, and ``let_go`` at the end."""

    def __init__(
        self,
        gate: Gate,
        *,
        name: str,
        every_s: tuple[float, float],
        clock: Callable[[], float],
        before: Callable[[], None],
    ) -> None:
        """``before`` is called before each look: the sampler's watch for a suspend."""
        super().__init__(name=f"localllm-power-{name}", daemon=True)
        self._gate = gate
        self._fast_s, self._steady_s = every_s
        self._clock = clock
        self._before = before
        self.answered = 0
        """The latest mark after which this lane has looked."""
        self.ended = False

    def run(self) -> None:
        """Look until the end, or until there is nothing to see any more."""
        marked_s, answered = self._clock(), -1
        try:
            while (mark := self._gate.wait_for_work()) is not None:
                began_s = self._clock()
                if mark != answered:
                    marked_s, answered = began_s, mark
                self._before()
                more = self.look()
                self._answer(mark)
                if not more:
                    return
                ended_s = self._clock()
                took_s = ended_s - began_s
                every_s = self._fast_s if ended_s - marked_s < FAST_S else self._steady_s
                self._gate.wait_for_turn(max(every_s - took_s, min(took_s, REST_S)), mark)
        finally:
            self.ended = True
            self._answer(self._gate.mark)
            self.let_go()

    def _answer(self, mark: int) -> None:
        if mark != self.answered or self.ended:
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
    """Meters of one driver, read one after the other."""

    def __init__(
        self,
        gate: Gate,
        recordings: Sequence[Recording],
        clock: Callable[[], float],
        before: Callable[[], None],
    ) -> None:
        """Take recordings of one driver: their meters are this thread's from here on."""
        every_s = [intervals_s(recording.source) for recording in recordings]
        super().__init__(
            gate,
            name=recordings[0].source.device,
            every_s=min(every_s),
            clock=clock,
            before=before,
        )
        self._recordings = tuple(recordings)

    def look(self) -> bool:
        """Read every meter that is not lost."""
        for recording in self._recordings:
            recording.look()
        return any(recording.lost is None for recording in self._recordings)

    def let_go(self) -> None:
        """Close the meters."""
        for recording in self._recordings:
            if recording.lost is None:
                recording.close()


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
        super().__init__(
            gate,
            name=f"health-{index}",
            every_s=(HEALTH_S, HEALTH_S),
            clock=clock,
            before=before,
        )
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
        with suppress(Exception):  # as with a meter
            self._watcher.close()

    def latest(self) -> Health | None:
        """Return the last look."""
        try:
            return self._seen[-1]
        except IndexError:
            return None

    def since(self, since_s: float) -> tuple[Health, ...]:
        """Return the looks since a moment."""
        return tuple(health for health in self._seen.copy() if health.t_s >= since_s)


def drivers(recordings: Sequence[Recording]) -> list[list[Recording]]:
    """Return recordings by the driver that a hang would stop: each GPU's, RAPL, a battery."""
    groups: dict[str, list[Recording]] = {}
    for recording in recordings:
        key = recording.source.pci_id or recording.source.name
        groups.setdefault(key, []).append(recording)
    return list(groups.values())
