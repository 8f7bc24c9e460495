"""The power sampler: reads every meter at its own rate while something runs, and rests otherwise.

Each driver has a thread of its own (``lane.py``), so that a slow one delays neither the others nor
whoever asks for the readings. At rest there are no calls and no wake-ups.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from localllm.core.metered.readings import Health, Trace
from localllm.power.lane import Gate, Lane, MeterLane, WatcherLane, drivers
from localllm.power.meter import Missing, Opened
from localllm.power.recording import Recording
from localllm.system.suspend import SuspendWatch, boottime

CLOSE_S = 0.9
_MAX_SLEPT = 64


class Sampler:
    """Readings of opened meters, kept in memory. Every method is safe from any thread."""

    def __init__(
        self,
        opened: Opened,
        *,
        clock: Callable[[], float] = time.monotonic,
        boottime: Callable[[], float] = boottime,
    ) -> None:
        """Take meters and watchers over; they are closed with the sampler. It begins at rest."""
        self.missing: tuple[Missing, ...] = opened.missing
        self._clock = clock
        self._gate = Gate()
        self._recordings = [Recording(meter) for meter in opened.meters]
        self._meters = [
            MeterLane(self._gate, group, clock, self._note_sleep)
            for group in drivers(self._recordings)
        ]
        self._watchers = [
            WatcherLane(self._gate, watcher, index, clock, self._note_sleep)
            for index, watcher in enumerate(opened.watchers)
        ]
        self._lanes: list[Lane] = [*self._meters, *self._watchers]
        self._life = threading.Lock()
        self._alive = False
        self._suspends = SuspendWatch(clock=clock, boottime=boottime)
        self._slept: tuple[float, ...] = ()

    def __enter__(self) -> Self:
        """Return the sampler itself, at rest."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    @property
    def running(self) -> bool:
        """Whether the meters are being read."""
        return self._gate.running and not self._gate.closing

    def start(self) -> None:
        """Begin to read, or go on; every meter is read at once."""
        with self._life:
            if self._gate.closing:
                return
            self._note_sleep()  # a sleep while at rest is not one of the window that begins now
            self._begin()
            self._gate.set(running=True, mark=True)

    def pause(self) -> None:
        """Stop reading after the look that is under way; readings are kept."""
        self._gate.set(running=False)

    def mark(self) -> None:
        """Have every meter read now: the edge of a window falls where this is called.

        Counters are then read fast for a while, so the end of one phase is the start of the next.
        """
        self._gate.set(mark=True)

    def settle(self, timeout_s: float = 0.25) -> bool:
        """Wait until every meter has been read after now; False where one was slower.

        Called at the end of a window, before ``traces``; does not wait while at rest.
        """
        mark = self._gate.set(mark=True)
        with self._gate.answered:
            return self._gate.answered.wait_for(
                lambda: (
                    not self.running
                    or all(lane.ended or lane.answered >= mark for lane in self._meters)
                ),
                timeout_s,
            )

    def traces(self, since_s: float | None = None) -> tuple[Trace, ...]:
        """Return the readings of every meter, from the last one before ``since_s`` on.

        A display that wants the watts of now asks for the last seconds only: the whole memory
        takes up to 80 ms to hand out.
        """
        self._note_sleep()
        slept = self._slept
        return tuple(recording.trace(since_s, slept) for recording in self._recordings)

    def health(self) -> tuple[Health, ...]:
        """Return the last look at every device that tells of itself."""
        seen = (lane.latest() for lane in self._watchers)
        return tuple(health for health in seen if health is not None)

    def health_since(self, since_s: float) -> tuple[Health, ...]:
        """Return every look since a moment, device after device: one a second."""
        return tuple(health for lane in self._watchers for health in lane.since(since_s))

    def close(self) -> None:
        """End the threads and close the meters, within a second even where a driver hangs."""
        with self._life:
            # Meters are closed by their own threads, since a close may hang as a read may.
            self._begin()
            self._gate.set(running=False, closing=True)
        deadline = time.monotonic() + CLOSE_S
        for lane in self._lanes:
            lane.join(max(deadline - time.monotonic(), 0.0))

    def _begin(self) -> None:
        if not self._alive:
            self._alive = True
            for lane in self._lanes:
                lane.start()

    def _note_sleep(self) -> None:
        """Note a suspend since the last look, if the clock that counts it ran ahead.

        It lies between the two looks: both moments are noted, so that a window that ends between
        them is refused as well as one that ends later.
        """
        between = self._suspends.look()
        if between is not None:
            self._slept = (*self._slept, *between)[-_MAX_SLEPT:]
