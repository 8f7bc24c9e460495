"""When a child has to be ended that has not ended by itself. Pure.

The child sends a ``Beat`` when it has nothing else to say, with a counter of its
work. Three things end a child that has not ended by itself:

- silence: nothing at all for ``watchdog_s`` (it is stopped, or the machine is);
- a standstill: it beats, but its counter has not moved for that long, or for five times the
  predicted time of one prompt chunk where that is longer (a hung GPU);
- a cancellation that it ignores: no sign of life for ``cancel_grace_s``, or 15 s of work after
  it.

Only time spent waiting for the child counts, so a consumer may pause for as long as it likes.
"""

from __future__ import annotations

from localllm.engine.protocol import Beat

_MAX_CANCEL_S = 15.0


def no_sign(seconds: float) -> str:
    """Return the reason for ending a silent child."""
    return f"it gave no sign of life for {seconds:.3g} s"


class Watch:
    """Over one request: judges what came from the child, and how long it took."""

    def __init__(
        self, *, silence_s: float, stall_s: float, cancel_grace_s: float, loads: bool = False
    ) -> None:
        """``loads``: nothing is lost by ending it, and a slow disk may show no progress."""
        self.slice_s = min(0.25, silence_s / 8)
        self._silence_s = silence_s
        self._stall_s = 4 * stall_s if loads else stall_s
        self._cancel_grace_s = cancel_grace_s
        self._max_cancel_s = cancel_grace_s if loads else _MAX_CANCEL_S
        self._silent_s = self._stalled_s = self._since_cancel_s = 0.0
        self._progress = -1

    def hear(self) -> None:
        """Take note of an event of work in a request that nobody has cancelled."""
        self._silent_s = self._stalled_s = 0.0

    def judge(self, event: object, waited_s: float, *, cancelled: bool) -> str | None:
        """Return why the child has to be ended now, or None."""
        waited_s = min(waited_s, 2 * self.slice_s)  # a parent that was stopped waited for nobody
        if cancelled:
            self._since_cancel_s += waited_s
        self._stalled_s += waited_s
        if event is None:
            self._silent_s += waited_s
        else:
            self._silent_s = 0.0
            if not isinstance(event, Beat):
                self._stalled_s = 0.0
            elif event.progress != self._progress:
                self._progress = event.progress
                self._stalled_s = 0.0
        if self._silent_s >= self._silence_s:
            return no_sign(self._silence_s)
        if self._stalled_s >= self._stall_s:
            return f"it made no progress for {self._stall_s:.3g} s"
        if cancelled and self._silent_s >= self._cancel_grace_s:
            return f"it ignored a cancellation for {self._cancel_grace_s:.3g} s"
        if self._since_cancel_s >= self._max_cancel_s:
            return f"it ignored a cancellation for {self._max_cancel_s:.3g} s"
        return None
