"""What a power meter says, and what became of it: readings, health, and the energy of a window.

Values only; the arithmetic is in ``joules.py``, the meters are in ``power/``. All times are those
of ``time.monotonic``, which every process of a machine shares. A value that was not read is absent
with a reason, never 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Z_95 = 1.96
"""Standard errors to either side that hold 95 % of a normal distribution."""

Kind = Literal["counter", "average", "instant"]
"""``counter``: joules since some moment; ``average``: watts over the last ``window_s``;
``instant``: watts of the moment of reading."""

MeterScope = Literal["GPU board", "CPU package", "DRAM", "whole chip", "whole laptop"]
"""What one meter measures. Scopes are added only by name, never as "system"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a figure comes from, and how far it can be trusted."""

    name: str
    """``NVML energy counter``, ``NVML power``, ``RAPL``, ``amdgpu hwmon``, ``battery`` ..."""
    scope: MeterScope
    kind: Kind
    device: str
    """The probe's name of the device, ``package 0``, ``BAT0``: tells two meters of a scope apart.
    """
    pci_id: str | None = None
    """``dddd:bb:dd.f`` of a GPU, the link to ``hardware.Device``; None for anything else."""
    period_s: float
    """A new value comes about so often."""
    window_s: float = 0.0
    """Of an ``average``: the time it looks back."""
    duty: float = 1.0
    """Share of the time at which the sensor looks at all: 0.25 on an A100 or H100 (Yang, Adámek,
    Armour, "Part-time Power Measurements", SC24)."""
    gain: float = 0.05
    """Systematic relative error, which does not average out; it cancels between two settings on
    one device."""
    note: str | None = None
    """What else a person must know: ``a MIG slice: the whole card's power``."""

    @property
    def label(self) -> str:
        """``NVML energy counter, GPU board nvidia0``."""
        return f"{self.name}, {self.scope} {self.device}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One look at a meter. Exactly one of ``joules`` and ``watts`` is set, by ``Source.kind``."""

    t_s: float
    joules: float | None = None
    """A counter, wraps undone: it never falls, unless its driver was loaded anew."""
    watts: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A meter's readings in order of time, and why they end where they do."""

    source: Source
    readings: tuple[Reading, ...]
    lost: str | None = None
    """Why there are no more: ``the GPU is lost: reset it, or restart the machine``."""
    slept_s: tuple[float, ...] = ()
    """When the machine was found to have been suspended: no window may hold such a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a device is while it works; None where it does not tell."""

    t_s: float
    device: str
    temperature_c: float | None = None
    clock_mhz: float | None = None
    """Of the arithmetic units."""
    clock_max_mhz: float | None = None
    memory_clock_mhz: float | None = None
    power_limit_w: float | None = None
    throttle: tuple[str, ...] = ()
    """Why the clocks are held down: ``power cap``, ``thermal``, ``hardware slowdown`` ..."""
    throttle_told: bool = True
    """Whether nothing in ``throttle`` means that nothing holds them down: some drivers do not say.
    """
    other_pids: tuple[int, ...] = ()
    """Processes that compute on the device and are not ours."""
    used_bytes: int | None = None
    """Memory in use on the device, by everybody."""
    utilisation: float | None = None
    """Share of the last moment, 0 to 1, in which it computed at all, however little of it."""
    pci_id: str | None = None
    """As ``Source.pci_id``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What one scope took in one window, with its error."""

    joules: float
    sigma_j: float
    """Standard error: edges of the window, sampling, quantisation."""
    gain: float
    """Systematic relative error, beside ``sigma_j``."""
    began_s: float
    ended_s: float
    scope: str
    """``GPU board``, ``2 GPU boards``, ``GPU board + CPU package`` ..."""
    sources: tuple[str, ...]
    """``Source.name`` of what was added, without repetition."""
    kinds: tuple[Kind, ...]
    window_s: float = 0.0
    """The longest averaging window or update period among the sources."""
    rough: bool = False
    """Fewer than ten new values fell into the window: to be printed with ``~``."""
    idle_w: float | None = None
    """Draw of the same scope with the model loaded and nothing to do; None: not known."""
    idle_sigma_w: float | None = None
    meters: tuple[Source, ...] = ()
    """What was added, one for each meter."""
    missing: tuple[str, ...] = ()
    """What ``scope`` would hold and no meter told, with the reason: not the whole where not empty.
    """

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.ended_s - self.began_s

    @property
    def mean_w(self) -> float:
        """Mean power over the window."""
        return self.joules / self.seconds

    @property
    def low_j(self) -> float:
        """Lower end of the 95 % interval: the gain may add to any statistical error."""
        return max(0.0, self.joules - Z_95 * self.sigma_j - self.gain * self.joules)

    @property
    def high_j(self) -> float:
        """Upper end of the 95 % interval."""
        return self.joules + Z_95 * self.sigma_j + self.gain * self.joules

    @property
    def net_joules(self) -> float | None:
        """``joules`` less what idling would have taken; None where idle is not known."""
        return None if self.idle_w is None else self.joules - self.idle_w * self.seconds

    @property
    def net_sigma_j(self) -> float | None:
        """Standard error of ``net_joules``: the window's and the idle's (``joules.py``)."""
        if self.idle_w is None:
            return None
        return math.hypot(self.sigma_j, self.seconds * (self.idle_sigma_w or 0.0))

    @property
    def net_is_noise(self) -> bool:
        """Whether the net energy is below two of its standard errors: no figure is printed."""
        net, sigma = self.net_joules, self.net_sigma_j
        return net is not None and sigma is not None and net < 2 * sigma


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmeasured:
    """There is no energy for a window, and why: a sentence without its full stop."""

    reason: str
    fix: str | None = None
    """The one line that would enable a meter, for ``doctor``."""
    spoilt: bool = False
    """Something happened in the window that spoils whatever else was measured in it: the machine
    slept, a device was lost, a counter began anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """What a scope draws with the model loaded and nothing to do."""

    watts: float
    sigma_w: float
    scope: str
    """As in ``Energy``: only energies of the same scope may have it subtracted."""
    drift_w: float | None = None
    """After less before, where the two differ by more than three standard errors."""
