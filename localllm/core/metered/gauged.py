"""A machine at one moment: what is free, how busy it is, what it draws, how its devices are.

Values only; ``gauging.py`` reads them. What was not read is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from localllm.core.bench.cpu_use import CpuSeconds
from localllm.core.hardware import Device, Hardware
from localllm.core.metered.meters import Missing
from localllm.core.metered.readings import Health, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuLoad:
    """Processors kept busy between two looks: 1.5 is one and a half of them."""

    busy: float
    """By everybody."""
    own: float
    """By this process and those that it has started."""
    of: int
    """Logical processors of the machine."""

    @property
    def share(self) -> float:
        """Of all processors together, 0 to 1."""
        return min(self.busy / self.of, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterNow:
    """One meter and what it says now."""

    source: Source
    watts: float | None
    lost: str | None = None
    """Why there are no more readings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """One look at everything."""

    t_s: float
    """``time.monotonic``."""
    hardware: Hardware
    """With the memory that is free now."""
    cpu: CpuLoad | None = None
    page_cache_bytes: int | None = None
    """Files that the system keeps in RAM; part of what is available. None: it does not tell."""
    meters: tuple[MeterNow, ...] = ()
    missing: tuple[Missing, ...] = ()
    healths: tuple[Health, ...] = ()
    """Of the devices that tell of themselves."""
    asleep: frozenset[str] = frozenset()
    """Names of devices that are powered down, and are left so: nothing of them was read."""

    def health(self, device: Device) -> Health | None:
        """Return how a device is; None where it does not tell."""
        if device.pci_id is None:
            return None
        return next((one for one in self.healths if one.pci_id == device.pci_id), None)


def cpu_load(before: CpuSeconds | None, after: CpuSeconds | None, *, of: int) -> CpuLoad | None:
    """Return how busy the processors were between two looks; None where that cannot be said."""
    if before is None or after is None or after.t_s <= before.t_s:
        return None
    seconds = after.t_s - before.t_s
    return CpuLoad(
        busy=max(after.busy_s - before.busy_s, 0.0) / seconds,
        own=max(after.own_s - before.own_s, 0.0) / seconds,
        of=max(of, 1),
    )


def watts_of(instants: Iterable[Instant], source: Source) -> tuple[float | None, ...]:
    """Return what one meter said at each of several moments."""
    return tuple(
        next((meter.watts for meter in instant.meters if meter.source == source), None)
        for instant in instants
    )
