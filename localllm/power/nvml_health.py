"""How an NVIDIA GPU is while it works: temperature, clocks, throttling, and who else computes.

Each value has its own call, and its own failure: one that the GPU does not have stops no other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from localllm.core.metered.readings import Health
from localllm.power.nvml_card import Card, Query

_SM, _MEMORY = 1, 2  # nvml.h: NVML_CLOCK_SM, NVML_CLOCK_MEM
_OF_GPU = 0  # nvml.h: NVML_TEMPERATURE_GPU

HARDWARE_SLOWDOWN = 0x08

REASONS = {
    0x04: "power cap",
    HARDWARE_SLOWDOWN: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal",
    0x40: "thermal",
    0x80: "power brake",
    0x200: "board limit",
    0x400: "reliability",
}
"""Bits of NVML's clocks event reasons (nvml.h). Left out are those that throttle nothing: 0x1, the
GPU is idle; 0x2 and 0x100, clocks that somebody set."""


def throttle(reasons: int) -> tuple[str, ...]:
    """Return in words why the clocks are held down; nothing for a GPU that is merely idle.

    The hardware's thermal slowdown and its power brake set the bit of a hardware slowdown too: the
    word for it is only used where nothing says more.
    """
    words = {word: None for bit, word in REASONS.items() if reasons & bit}
    if reasons & (0x40 | 0x80):
        words.pop(REASONS[HARDWARE_SLOWDOWN], None)
    return tuple(words)


class NvmlWatcher:
    """Health of one GPU."""

    def __init__(self, card: Card, root: Path, clock: Callable[[], float]) -> None:
        """Hold NVML open; nothing is asked yet."""
        api = card.session.api
        self._card = card
        self._proc = root / "proc"
        self._clock = clock
        self.own_pids: frozenset[int] = frozenset()
        """Processes besides this one that are ours: the engine's child. May be set at any time."""
        self._release = card.share()
        self._temperature = Query(card, lambda h: api.nvmlDeviceGetTemperature(h, _OF_GPU))
        self._clock_mhz = Query(card, lambda h: api.nvmlDeviceGetClockInfo(h, _SM))
        self._memory_clock_mhz = Query(card, lambda h: api.nvmlDeviceGetClockInfo(h, _MEMORY))
        self._max_clock_mhz = Query(card, lambda h: api.nvmlDeviceGetMaxClockInfo(h, _SM))
        self._known_max_mhz: float | None = None
        self._limit_mw = Query(card, api.nvmlDeviceGetEnforcedPowerLimit)
        self._reasons = Query(
            card,
            api.nvmlDeviceGetCurrentClocksEventReasons,
            api.nvmlDeviceGetCurrentClocksThrottleReasons,  # drivers before 535
        )
        self._memory = Query(
            card,
            lambda h: api.nvmlDeviceGetMemoryInfo(h, api.nvmlMemory_v2),
            api.nvmlDeviceGetMemoryInfo,  # counts what the driver keeps for itself as used
        )
        self._utilisation = Query(card, api.nvmlDeviceGetUtilizationRates)
        self._processes = Query(
            card,
            api.nvmlDeviceGetComputeRunningProcesses_v3,
            api.nvmlDeviceGetComputeRunningProcesses_v2,  # drivers before 510
        )

    def health(self) -> Health | None:
        """Look once; None once the GPU is lost."""
        t_s = self._clock()
        temperature = self._temperature.ask()
        clock_mhz = self._clock_mhz.ask()
        memory_clock_mhz = self._memory_clock_mhz.ask()
        if self._known_max_mhz is None:  # it does not change
            self._known_max_mhz = _positive(self._max_clock_mhz.ask())
        limit_mw = _positive(self._limit_mw.ask())
        reasons = self._reasons.ask()
        processes = self._processes.ask()
        memory = self._memory.ask()
        utilisation = self._utilisation.ask()
        if self._card.lost is not None:
            return None
        return Health(
            t_s=t_s,
            device=self._card.device,
            temperature_c=None if temperature is None else float(temperature),
            clock_mhz=_positive(clock_mhz),
            clock_max_mhz=self._known_max_mhz,
            memory_clock_mhz=_positive(memory_clock_mhz),
            power_limit_w=None if limit_mw is None else limit_mw / 1000,
            throttle=() if reasons is None else throttle(int(reasons)),
            throttle_told=reasons is not None,
            other_pids=self._others(process.pid for process in processes or ()),
            used_bytes=None if memory is None else int(memory.used),
            utilisation=None if utilisation is None else int(utilisation.gpu) / 100,
            pci_id=self._card.pci_id,
        )

    def close(self) -> None:
        """Let go of NVML."""
        self._release()

    def _others(self, pids: Iterable[int]) -> tuple[int, ...]:
        """Return the processes on the GPU that are not ours.

        In a container the driver may give the host's numbers, under which our own process is not
        known to us. So where none of ours is on the list, only processes that can be seen count.
        """
        listed = sorted(set(pids))
        own = self.own_pids | {os.getpid()}
        others = [pid for pid in listed if pid not in own]
        if len(others) == len(listed) and self._proc.is_dir():
            others = [pid for pid in others if (self._proc / str(pid)).exists()]
        return tuple(others)


def _positive(value: int | None) -> float | None:
    """Return a clock or a limit; a driver that gives 0 does not tell."""
    return float(value) if value else None
