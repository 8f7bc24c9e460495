"""What every kind of power meter answers to, and why there is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from localllm.core.metered.meters import Missing as Missing  # part of this contract; shells show it
from localllm.core.metered.readings import Health, Reading, Source


class MeterLost(Exception):
    """A meter has ended for good; ``reason`` is for a person. Other meters go on."""

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


class Meter(Protocol):
    """One source of watts or joules. Used by one thread at a time."""

    @property
    def source(self) -> Source:
        """What it measures, and how well."""
        ...

    def read(self) -> Reading | None:
        """Look once; None where this reading failed. Raises MeterLost when there are no more."""
        ...

    def close(self) -> None:
        """Let go of what was opened; an open NVML keeps a laptop's GPU awake."""
        ...


class Watcher(Protocol):
    """Tells how a device is: temperature, clocks, throttling. Used by one thread at a time."""

    def health(self) -> Health | None:
        """Look once; None where nothing can be told any more."""
        ...

    def close(self) -> None:
        """Let go of what was opened."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which meters to open, and where."""

    pci_ids: tuple[str, ...] = ()
    """GPUs that will work, ``dddd:bb:dd.f``; others are left alone, and asleep."""
    root: Path = Path("/")
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What one kind of source gave."""

    meters: tuple[Meter, ...] = ()
    watchers: tuple[Watcher, ...] = ()
    missing: tuple[Missing, ...] = ()


Opener = Callable[[Wanted], Opened]
"""Opens the meters of one kind. It never raises: what does not work is ``missing``."""
