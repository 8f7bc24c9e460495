"""RAPL: the energy counters of Intel and AMD processors, for the package and its memory.

Linux, ``/sys/class/powercap/intel-rapl:N`` (the package, on AMD too) and ``intel-rapl:N:M`` (parts
of it). ``psys`` covers the whole platform, packages included, and ``core`` and ``uncore`` are parts
of their package: none of these is read. ``dram`` is a subzone but no part of its package. The same
package may appear again as ``intel-rapl-mmio``; that is not read either.

Only root may read the counters since CVE-2020-8694; nobody is asked for a password here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localllm.core.metered.readings import MeterScope, Reading, Source
from localllm.power.meter import Meter, MeterLost, Missing, Opened, Wanted
from localllm.system.sysfiles import folders, read_int, read_text, to_int

ENABLE = (
    r"""echo 'SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chmod a+r /sys%p/energy_uj"' """
    "| sudo tee /etc/udev/rules.d/70-localllm-rapl.rules "
    "&& sudo udevadm control --reload && sudo udevadm trigger -c add -s powercap"
)
"""Lets every user of the machine read the counters, now and after a restart."""

PERIOD_S = 0.001
"""The counters move about every millisecond (Intel SDM vol. 3B, 15.10.3)."""

MOST_W = 2000.0
"""More than any package or its memory draws: a step that would need more was none."""

LEAST_RANGE_UJ = 65_700_000_000
"""The shortest range known: 32 bits of 15.3 µJ (Linux, amd_energy.rst)."""

_PATIENCE = 3
_PACKAGE = re.compile(r"package-(\d+)(?:-die-(\d+))?")
_MODELLED = "AMD computes it from activity: data and memory traffic hardly show"
"""Schöne et al., "Energy Efficiency Aspects of the AMD Zen 2 Architecture", CLUSTER 2021."""


def counted_uj(earlier: int, later: int, max_uj: int | None, most_uj: float) -> int | None:
    """Return the energy between two values of a counter that wraps after ``max_uj``, in µJ.

    ``(later - earlier) mod (max_uj + 1)``. None where that cannot be known: a value that fell
    without a known range, and a fall that would be a wrap of more than ``most_uj``: the counter
    was set back, as it is by a suspend.
    """
    if later >= earlier:
        return later - earlier
    if max_uj is None or not 0 <= later <= earlier <= max_uj:
        return None
    gained = (later - earlier) % (max_uj + 1)
    return gained if gained <= most_uj else None


class RaplMeter:
    """One counter of one processor package."""

    def __init__(
        self,
        folder: Path,
        source: Source,
        first: Reading,
        max_uj: int | None,
        clock: Callable[[], float],
    ) -> None:
        """``first`` is the reading that proved the counter readable."""
        self._file = folder / "energy_uj"
        self._source = source
        self._max_uj = max_uj
        self._clock = clock
        self._uj = round((first.joules or 0.0) * 1e6)
        self._t_s = first.t_s
        self._joules = first.joules or 0.0
        self._failed = 0

    @property
    def source(self) -> Source:
        """What it measures, and how well."""
        return self._source

    def read(self) -> Reading | None:
        """Look once, wraps undone. Raises MeterLost when the file answers no more.

        Where the energy since the last look cannot be known, the count falls back to 0: as after a
        driver that was loaded anew, no window over that moment has an energy.
        """
        t_s = self._clock()
        uj = read_int(self._file)
        if uj is None:
            self._failed += 1
            if self._failed >= _PATIENCE:
                raise MeterLost("RAPL can no longer be read")
            return None
        self._failed = 0
        elapsed_s = t_s - self._t_s
        gained = counted_uj(self._uj, uj, self._max_uj, MOST_W * 1e6 * (elapsed_s + PERIOD_S))
        if elapsed_s * MOST_W * 1e6 > (self._max_uj or LEAST_RANGE_UJ) / 2:
            gained = None  # after a long rest it may have wrapped more than once
        self._joules = 0.0 if gained is None else self._joules + gained / 1e6
        self._uj, self._t_s = uj, t_s
        return Reading(t_s=t_s, joules=self._joules)

    def close(self) -> None:
        """There is nothing to let go of: the file is opened for each look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Zone:
    folder: Path
    scope: MeterScope
    device: str


def open_rapl(wanted: Wanted) -> Opened:
    """Open the counters of every package, and of its memory where it has one."""
    root = wanted.root
    zones = _zones(root / "sys/class/powercap")
    if not zones:
        reason = _why_none(root)
        if reason is None:
            return Opened()
        none = Missing(scope="CPU package", device="", reason=reason)
        return Opened(missing=(none,))
    meters: list[Meter] = []
    absent: list[Missing] = []
    modelled = "AuthenticAMD" in (read_text(root / "proc/cpuinfo") or "")[:4096]
    for zone in zones:
        meter = _open(zone, wanted.clock, modelled=modelled)
        if isinstance(meter, Missing):
            absent.append(meter)
        else:
            meters.append(meter)
    return Opened(meters=tuple(meters), missing=tuple(absent))


def _zones(powercap: Path) -> list[_Zone]:
    """Return the packages, each followed by its memory."""
    zones = []
    for folder in folders(powercap, "intel-rapl:*"):
        match = _PACKAGE.fullmatch(read_text(folder / "name") or "")
        if match is None or folder.name.count(":") != 1:
            continue
        package, die = match.groups()
        device = f"package {package}" + (f" die {die}" if die else "")
        zones.append(_Zone(folder=folder, scope="CPU package", device=device))
        zones += [
            _Zone(folder=part, scope="DRAM", device=device)
            for part in folders(folder, f"{folder.name}:*")
            if read_text(part / "name") == "dram"
        ]
    return zones


def _open(zone: _Zone, clock: Callable[[], float], *, modelled: bool) -> RaplMeter | Missing:
    t_s = clock()
    try:
        text = (zone.folder / "energy_uj").read_text(encoding="ascii", errors="replace")
    except PermissionError:
        return Missing(
            scope=zone.scope,
            device=zone.device,
            reason="only root may read RAPL here, as it can leak secrets (CVE-2020-8694)",
            fix=ENABLE,
        )
    except OSError as error:
        reason = f"RAPL cannot be read: {error.strerror or error}"
        return Missing(scope=zone.scope, device=zone.device, reason=reason)
    uj = to_int(text.strip())
    if uj is None or uj < 0:
        reason = "RAPL gives no number"
        return Missing(scope=zone.scope, device=zone.device, reason=reason)
    source = Source(
        name="RAPL",
        scope=zone.scope,
        kind="counter",
        device=zone.device,
        period_s=PERIOD_S,
        note=_MODELLED if modelled else None,
    )
    most = read_int(zone.folder / "max_energy_range_uj")
    first = Reading(t_s=t_s, joules=uj / 1e6)
    return RaplMeter(zone.folder, source, first, most if most and most > 0 else None, clock)


def _why_none(root: Path) -> str | None:
    """Return why there is no counter at all; None where another meter's file answers for it."""
    if not (root / "proc/cpuinfo").exists():
        if sys.platform == "win32":
            return "the processor's power is not read on Windows"
        return None  # a Mac: apple.py
    flags = (read_text(root / "proc/cpuinfo") or "").partition("\nflags")[2].partition("\n")[0]
    if " hypervisor" in flags:
        return "a virtual machine is given no energy counter of the processor (RAPL)"
    if not flags:
        return "this processor has no energy counter that Linux reads (RAPL is Intel's and AMD's)"
    if (root / "sys/class/powercap").is_dir():
        return "Linux offers no energy counter of this processor (RAPL)"
    return "the kernel's RAPL driver is not loaded, or is hidden from this container"
