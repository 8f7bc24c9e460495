"""The battery: what a laptop draws while it runs on it. Scope: the whole laptop, screen included.

Linux, ``/sys/class/power_supply``: ``power_now`` in µW, or ``current_now`` (µA) times
``voltage_now`` (µV). While the charger is plugged in, a battery says nothing of the laptop's draw.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from localllm.core.metered.readings import Reading, Source
from localllm.power.meter import MeterLost, Missing, Opened, Wanted
from localllm.system.sysfiles import folders, read_int, read_text

PERIOD_S = 1.0
"""The kernel asks an ACPI battery at most once a second (``cache_time``, drivers/acpi/battery.c);
the battery's own controller may answer with an older value."""

_DISCHARGING = "Discharging"
_SUPPLIES = "sys/class/power_supply"
_PATIENCE = 3


class BatteryMeter:
    """The discharge of all batteries of a laptop together: one may rest while another works."""

    def __init__(self, supplies: list[Path], clock: Callable[[], float]) -> None:
        """Take the batteries' folders."""
        self._supplies = supplies
        self._clock = clock
        self._failed = 0
        self._source = Source(
            name="battery",
            scope="whole laptop",
            kind="instant",
            device=" + ".join(folder.name for folder in supplies),
            period_s=PERIOD_S,
            note="the screen and everything else included",
        )

    @property
    def source(self) -> Source:
        """What it measures, and how well."""
        return self._source

    def read(self) -> Reading | None:
        """Look once. Raises MeterLost when the laptop is plugged in, or the batteries are gone."""
        t_s = self._clock()
        working = [f for f in self._supplies if read_text(f / "status") == _DISCHARGING]
        if not working:
            raise MeterLost(_why_not(self._supplies) or "the battery can no longer be read")
        draws = [discharge_w(folder) for folder in working]
        known = [watts for watts in draws if watts is not None]
        if len(known) < len(draws):
            self._failed += 1
            if self._failed >= _PATIENCE:
                raise MeterLost("the battery no longer tells its power")
            return None
        self._failed = 0
        return Reading(t_s=t_s, watts=sum(known))

    def close(self) -> None:
        """There is nothing to let go of: the files are opened for each look."""


def discharge_w(folder: Path) -> float | None:
    """Return the watts that a battery gives, or None where it does not tell.

    Some drivers write a discharge as a negative number. 0 is what firmware writes that does not
    know: a laptop that runs draws something.
    """
    microwatts = read_int(folder / "power_now")
    if microwatts:
        return abs(microwatts) / 1e6
    microamperes = read_int(folder / "current_now")
    microvolts = read_int(folder / "voltage_now")
    if microamperes and microvolts:
        return abs(microamperes) * microvolts * 1e-12
    return None


def open_battery(wanted: Wanted) -> Opened:
    """Open the laptop's batteries if it runs on them; a machine without any is no news."""
    supplies = [
        folder
        for folder in folders(wanted.root / _SUPPLIES, "*")
        # "Device" is a mouse or a headset with a battery of its own.
        if read_text(folder / "type") == "Battery" and read_text(folder / "scope") != "Device"
    ]
    if not supplies:
        return Opened()
    reason = _why_not(supplies)
    meter = BatteryMeter(supplies, wanted.clock)
    if reason is None:
        return Opened(meters=(meter,))
    device = meter.source.device
    return Opened(missing=(Missing(scope="whole laptop", device=device, reason=reason),))


def _why_not(supplies: list[Path]) -> str | None:
    """Return why the batteries cannot tell what the laptop draws; None where they can."""
    states = {folder: read_text(folder / "status") for folder in supplies}
    working = [folder for folder, state in states.items() if state == _DISCHARGING]
    if not working:
        said = ", ".join(sorted({state for state in states.values() if state}))
        if not said:
            return "the battery cannot be read"
        return f"the laptop runs on mains power (battery: {said})"
    if any(discharge_w(folder) is None for folder in working):
        return "the battery tells neither power nor current"
    return None
