"""How the devices were while a test ran, and what makes its figures unfit to be compared."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from localllm.core.bench.cpu_use import CpuUse
from localllm.core.metered.readings import Health

Number = TypeVar("Number", int, float)

FAULTY = frozenset({"thermal", "hardware slowdown", "power brake"})
"""Reasons for lower clocks that say nothing of the machine. A power cap and other limits that a
board always has are told, but are how it was set."""

STEADY_C = 1.0
STEADY_S = 10.0
"""Warm: the temperature moves by less than 1 degree in 10 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What was seen during a test; None where no device told."""

    temperature_c: float | None = None
    """The highest of any device."""
    clock_mhz: float | None = None
    """Mean of the slowest device."""
    power_limit_w: float | None = None
    """Of all devices together."""
    throttle: tuple[str, ...] = ()
    """Why clocks were held down at any moment."""
    other_pids: tuple[tuple[str, int], ...] = ()
    """Device and process id of whoever else computed there."""
    used_bytes: int | None = None
    """The most memory in use on all devices together, by everybody."""
    cpu: CpuUse | None = None
    """What others did with the processors."""
    on_cpu: bool = False
    """Whether the processors compute a part of the test."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What was wrong with the devices."""
        reasons = [
            f"another process (pid {pid}) computed on {device}" for device, pid in self.other_pids
        ]
        reasons += [
            f"clocks were held down: {reason}" for reason in self.throttle if reason in FAULTY
        ]
        return tuple(reasons)

    @property
    def invalid(self) -> tuple[str, ...]:
        """Why the test says nothing of the machine when it is left alone; empty for a good one."""
        disturbance = self.cpu.disturbance if self.on_cpu and self.cpu is not None else None
        return self.faults if disturbance is None else (*self.faults, disturbance)


def conditions(
    readings: Sequence[Health], *, cpu: CpuUse | None = None, on_cpu: bool = False
) -> Conditions:
    """Return what some looks at the devices say together, and what the processors did."""
    devices = _by_device(readings)
    clocks = [_known(look.clock_mhz for look in looks) for looks in devices]
    used = [_known(look.used_bytes for look in looks) for looks in devices]
    limits = [_known(look.power_limit_w for look in looks) for looks in devices]
    return Conditions(
        temperature_c=max(_known(look.temperature_c for look in readings), default=None),
        clock_mhz=min((statistics.fmean(known) for known in clocks if known), default=None),
        power_limit_w=sum(known[-1] for known in limits) if limits and all(limits) else None,
        throttle=tuple(dict.fromkeys(reason for look in readings for reason in look.throttle)),
        other_pids=tuple(
            dict.fromkeys((look.device, pid) for look in readings for pid in look.other_pids)
        ),
        used_bytes=sum(max(known) for known in used) if used and all(used) else None,
        cpu=cpu,
        on_cpu=on_cpu,
    )


def is_warm(readings: Sequence[Health], *, now_s: float) -> bool | None:
    """Whether every device's temperature has settled; None while that cannot be said yet.

    Of each device the looks of the last 10 s count, and they must span them.
    """
    devices = _by_device([look for look in readings if look.temperature_c is not None])
    return all(_has_settled(looks, now_s=now_s) for looks in devices) if devices else None


def _by_device(readings: Sequence[Health]) -> list[list[Health]]:
    devices: dict[str, list[Health]] = {}
    for reading in readings:
        devices.setdefault(reading.device, []).append(reading)
    return list(devices.values())


def _has_settled(readings: Sequence[Health], *, now_s: float) -> bool:
    start_s = now_s - STEADY_S
    before = [one for one in readings if one.t_s <= start_s]
    recent = [*before[-1:], *(one for one in readings if one.t_s > start_s)]
    if not before or len(recent) < 2:
        return False
    temperatures = [one.temperature_c or 0.0 for one in recent]
    return max(temperatures) - min(temperatures) < STEADY_C


def _known(values: Iterable[Number | None]) -> list[Number]:
    return [value for value in values if value is not None]
