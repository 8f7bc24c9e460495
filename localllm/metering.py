"""Joules beside a run: the meters of this machine, read while a loaded model works.

Composition only: meters and the sampler are ``power/``'s, the arithmetic ``core/joules.py``'s, and
which meters count for a run ``core/metered/live.py`` says. Nothing is read before the first
``start``, nor a moment after a run: an idle chat costs no call, and a laptop's GPU that holds no
model sleeps on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.core.joules import (
    AnswerEnergy,
    addable,
    answer_energy,
    energy_of,
    idle_power,
    watts_now,
)
from localllm.core.metered.live import Live, chosen, scopes_of_run, with_health
from localllm.core.metered.meters import Missing
from localllm.core.metered.readings import Energy, Health, Idle, Source, Trace, Unmeasured
from localllm.core.metered.sums import scope_text
from localllm.core.plan import Plan

if TYPE_CHECKING:
    from localllm.core.generation import Timeline
    from localllm.power.sampler import Sampler

TAIL_S = 1.5
"""Read on after a run: a one-second average tells of it only afterwards."""
IDLE_S = 10.0
"""Of idling, with the model loaded, is read once: what a run takes beyond it is its own."""
SETTLING_S = 3.0
"""After a run a board has not come to rest: no part of an idle window."""
_LOOKBACK_S = 4.0
_FRESH_S = 2.0
"""A window that ended longer ago needs no last reading."""


class Meters:
    """The power meters of one loaded model. Every method is safe from any thread."""

    def __init__(
        self,
        plan: Plan,
        *,
        own_pid: Callable[[], int | None] = lambda: None,
        root: Path = Path("/"),
    ) -> None:
        """Take what runs; ``own_pid``: the process that computes. ``root``: of the machine."""
        self._plan = plan
        self._root = root
        self._own_pid = own_pid
        self._scopes = scopes_of_run(plan)
        self._lock = threading.Lock()
        self._sampler: Sampler | None = None
        self._opened = threading.Event()
        self._reads = False
        """Whether they are to be read, also while they are being opened."""
        self._rest: threading.Timer | None = None
        self._idle_windows: list[tuple[float, float]] = []
        self._idle_since_s: float | None = None
        self._closed = False

    def open(self) -> None:
        """Open the meters in the background: a driver may take a second over it."""
        threading.Thread(target=self._open, name="localllm-meters", daemon=True).start()

    def wait_open(self, timeout_s: float = 3.0) -> None:
        """Wait until the meters are open: a benchmark would rather begin late than unmeasured."""
        self._opened.wait(timeout_s)

    def start(self) -> None:
        """Read from now on, for a run that begins."""
        with self._lock:
            self._end_idling(time.monotonic())
            self._cancel_rest()
        self._read()

    def mark(self) -> None:
        """Read every meter now: here one phase of a run ends and another begins."""
        sampler = self._sampler
        if sampler is not None:
            sampler.mark()

    def rest(self) -> None:
        """Stop reading shortly after a run that has ended; while idling is not known, later."""
        with self._lock:
            now_s = time.monotonic()
            idled = sum(ended - began for began, ended in self._idle_windows)
            self._cancel_rest()
            if idled >= IDLE_S:
                self._rest_in(TAIL_S)
            else:
                self._idle_since_s = now_s + SETTLING_S
                self._rest_in(SETTLING_S + IDLE_S + 0.5)

    def pause(self) -> None:
        """Stop reading now."""
        with self._lock:
            self._cancel_rest()
            self._end_idling(time.monotonic())
            sampler, self._reads = self._sampler, False
        if sampler is not None:
            sampler.pause()

    def close(self) -> None:
        """End the readings and close the meters."""
        with self._lock:
            self._closed = True
            self._cancel_rest()
            sampler, self._sampler = self._sampler, None
        if sampler is not None:
            sampler.close()

    # -- what was read ---------------------------------------------------------------------------

    def live(self) -> Live:
        """Return the figures of this moment."""
        now_s = time.monotonic()
        traces = self._traces(now_s - _LOOKBACK_S)
        watts = [watts_now(trace, now_s) for trace in traces]
        known = [watt for watt in watts if watt is not None]
        whole = bool(known) and len(known) == len(watts)
        none = None if whole else self._why_none(traces)
        live = Live(
            watts=sum(known) if whole else None,
            scope=scope_text([trace.source for trace in traces]) or None,
            sources=tuple(dict.fromkeys(trace.source.name for trace in traces)),
            window_s=max((trace.source.window_s for trace in traces), default=0.0),
            missing=None if none is None else none.reason,
            fix=None if none is None else none.fix,
        )
        return with_health(live, self.health())

    def health(self) -> tuple[Health, ...]:
        """Return the last look at every device of the run, our own processes left out."""
        sampler = self._sampler
        own = self._own_pid()
        return () if sampler is None else tuple(_without(one, own) for one in sampler.health())

    def health_since(self, began_s: float) -> tuple[Health, ...]:
        """Return every look since a moment, one a second."""
        sampler = self._sampler
        own = self._own_pid()
        if sampler is None:
            return ()
        return tuple(_without(one, own) for one in sampler.health_since(began_s))

    def energy_between(self, began_s: float, ended_s: float) -> Energy | Unmeasured:
        """Return the energy of the run's scope from ``began_s`` to ``ended_s``."""
        traces = self._settled(began_s, ended_s)
        if not traces:
            return self._unmeasured()
        return energy_of(traces, began_s, ended_s, idle=self._idle(traces))

    def answer(self, timeline: Timeline) -> AnswerEnergy:
        """Return the energy of an answer, its prompt and its generation apart."""
        traces = self._settled(timeline.prompt_began_s, timeline.last_token_s)
        if not traces:
            none = self._unmeasured()
            return AnswerEnergy(prefill=none, decode=none, total=none)
        return answer_energy(traces, timeline, idle=self._idle(traces))

    def power_trace(self, began_s: float, ended_s: float) -> tuple[tuple[float, float], ...]:
        """Return (time, watts) of the run's scope about every half second, for a drawing."""
        traces = self._traces(began_s - _LOOKBACK_S)
        points: list[tuple[float, float]] = []
        t_s = began_s + 0.5
        while traces and t_s <= ended_s:
            watts = [watts_now(trace, t_s) for trace in traces]
            known = [watt for watt in watts if watt is not None]
            if len(known) == len(watts):
                points.append((t_s, sum(known)))
            t_s += 0.5
        return tuple(points)

    def missing(self) -> tuple[Missing, ...]:
        """Return why other scopes have no meter."""
        sampler = self._sampler
        return () if sampler is None else sampler.missing

    # -- how it is read --------------------------------------------------------------------------

    def _open(self) -> None:
        from localllm.power.meter import Wanted
        from localllm.power.registry import open_meters
        from localllm.power.sampler import Sampler

        sampler = Sampler(open_meters(Wanted(pci_ids=self._pci_ids(), root=self._root)))
        with self._lock:
            closed, reads = self._closed, self._reads
            self._sampler = None if closed else sampler
        self._opened.set()
        if closed:
            sampler.close()
        elif reads:
            sampler.start()

    def _read(self) -> None:
        with self._lock:
            sampler, self._reads = self._sampler, True
        if sampler is not None:
            sampler.start()

    def _pci_ids(self) -> tuple[str, ...]:
        working = {row.name for row in self._plan.devices if row.kind == "gpu" and row.n_layers}
        devices = (device for device in self._plan.hardware.devices if device.name in working)
        return tuple(device.pci_id for device in devices if device.pci_id is not None)

    def _traces(self, since_s: float | None) -> tuple[Trace, ...]:
        sampler = self._sampler
        if sampler is None:
            return ()
        return addable(chosen(sampler.traces(since_s), self._scopes))

    def _settled(self, began_s: float, ended_s: float) -> tuple[Trace, ...]:
        """Return the traces around a window, its end read as well."""
        sampler = self._sampler
        if sampler is not None and time.monotonic() - ended_s < _FRESH_S:
            sampler.settle()
        return self._traces(began_s - _LOOKBACK_S)

    def _idle(self, traces: Sequence[Trace]) -> Mapping[Source, Idle]:
        with self._lock:
            windows = tuple(self._idle_windows)
        if not windows or not traces or self._sampler is None:
            return {}
        known: dict[Source, Idle] = {}
        for trace in self._traces(windows[0][0] - _LOOKBACK_S):
            draw = idle_power(trace, windows)
            if isinstance(draw, Idle):
                known[trace.source] = draw
        return known

    def _why_none(self, traces: Sequence[Trace]) -> Unmeasured:
        lost = next((trace.lost for trace in traces if trace.lost is not None), None)
        if lost is not None:
            return Unmeasured(reason=lost)
        if traces:
            return Unmeasured(reason="no reading yet")
        return self._unmeasured()

    def _unmeasured(self) -> Unmeasured:
        """Say why there is no meter for this run's scope, and what would mend it."""
        if self._sampler is None:
            return Unmeasured(reason="the meters are not open yet")
        missing = self._sampler.missing
        wanted = [one for one in missing if one.scope in self._scopes] or list(missing)
        if not wanted:
            return Unmeasured(reason="this machine has no power meter")
        return Unmeasured(reason=wanted[0].reason, fix=wanted[0].fix)

    # -- rest; the lock is held ------------------------------------------------------------------

    def _rest_in(self, seconds: float) -> None:
        self._rest = threading.Timer(seconds, self.pause)
        self._rest.daemon = True
        self._rest.start()

    def _cancel_rest(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _end_idling(self, now_s: float) -> None:
        began_s, self._idle_since_s = self._idle_since_s, None
        if began_s is not None and now_s - began_s >= 1.0:
            self._idle_windows.append((began_s, now_s))


def _without(health: Health, own: int | None) -> Health:
    others = tuple(pid for pid in health.other_pids if pid != own)
    return health if others == health.other_pids else replace(health, other_pids=others)
