"""This machine while somebody looks at it: memory, load, meters and health, about once a second.

Composition only: what is read is ``probes/``' and ``power/``'s. A GPU that sleeps is left asleep,
and read once something else has woken it; after the last look everything is closed again.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.core.hardware import Hardware
from localllm.core.metered.gauged import Instant, MeterNow, cpu_load
from localllm.core.metered.window import watts_now

if TYPE_CHECKING:
    from localllm.core.bench.cpu_use import CpuSeconds
    from localllm.power.sampler import Sampler

KEPT = 60
"""Looks that are remembered, for a curve of the last minute."""
_LOOKBACK_S = 4.0
_FIRST_S = 0.3
"""To the second look: load and the watts of a counter need two."""


class Gauges:
    """Looks at one machine, which must be this one. Used by one thread; ``stop`` by any."""

    def __init__(self, hardware: Hardware, *, every_s: float = 1.0, root: Path = Path("/")) -> None:
        """Take the machine as it was detected; nothing is opened yet."""
        self._hardware = hardware
        self._every_s = every_s
        self._root = root
        self._stopped = threading.Event()

    def looks(self) -> Generator[tuple[Instant, ...]]:
        """Yield the last looks, the newest at the end, until ``stop``.

        Opening the meters may take a driver a second. Everything is closed when it ends.
        """
        from localllm.probes.busy import cpu_seconds

        kept: deque[Instant] = deque(maxlen=KEPT)
        asleep = self._asleep()
        sampler = self._open()
        busy: CpuSeconds | None = None
        try:
            while not self._stopped.is_set():
                before, busy = busy, cpu_seconds()
                kept.append(self._look(sampler, asleep, before, busy))
                yield tuple(kept)
                self._stopped.wait(
                    min(self._every_s, _FIRST_S) if len(kept) == 1 else self._every_s
                )
                sleeps = self._asleep()
                if asleep - sleeps:  # something has woken one
                    sampler.close()
                    sampler = self._open()
                asleep = sleeps
        finally:
            sampler.close()

    def stop(self) -> None:
        """End the looks soon."""
        self._stopped.set()

    def _open(self) -> Sampler:
        from localllm.power.meter import Wanted
        from localllm.power.registry import open_meters
        from localllm.power.sampler import Sampler

        pci_ids = (device.pci_id for device in self._hardware.devices)
        wanted = tuple(pci_id for pci_id in pci_ids if pci_id is not None)
        sampler = Sampler(open_meters(Wanted(pci_ids=wanted, root=self._root)))
        sampler.start()
        sampler.settle()
        return sampler

    def _look(
        self,
        sampler: Sampler,
        asleep: frozenset[str],
        before: CpuSeconds | None,
        busy: CpuSeconds | None,
    ) -> Instant:
        from localllm.probes.fresh import fresh_memory
        from localllm.probes.host import page_cache_bytes

        awake = {device.name for device in self._hardware.devices} - asleep
        now_s = time.monotonic()
        traces = sampler.traces(now_s - _LOOKBACK_S)
        return Instant(
            t_s=now_s,
            hardware=fresh_memory(self._hardware, awake, root=self._root),
            cpu=cpu_load(before, busy, of=os.cpu_count() or 1),
            page_cache_bytes=page_cache_bytes(self._root),
            meters=tuple(
                MeterNow(source=trace.source, watts=watts_now(trace, now_s), lost=trace.lost)
                for trace in traces
            ),
            missing=sampler.missing,
            healths=sampler.health(),
            asleep=asleep,
        )

    def _asleep(self) -> frozenset[str]:
        """Return the names of the devices that are powered down; the kernel is asked, no driver."""
        from localllm.power.nvml_card import sleeps

        return frozenset(
            device.name
            for device in self._hardware.devices
            if device.pci_id is not None and sleeps(self._root, device.pci_id)
        )
