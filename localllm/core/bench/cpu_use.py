"""Who kept the processors busy during a test: us, others here, or the hypervisor's other guests."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_S = 0.5
"""Systems count processor time in steps of 10 ms: of shorter spans nothing is said."""

MOST_OTHER_CPUS = 0.5
"""A desktop at rest keeps less than a tenth of a processor busy; half of one is another program."""

MOST_STOLEN_CPUS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuSeconds:
    """Processor time since some moment, at one moment."""

    t_s: float
    """``time.monotonic``."""
    busy_s: float
    """Of all processes of the machine together."""
    own_s: float
    """Of this process and those that it has started."""
    stolen_s: float | None = None
    """Wanted by a virtual machine, and given to others; None where nobody tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuUse:
    """Processors kept busy, on average: 1.5 is one and a half of them."""

    others: float
    stolen: float | None

    @property
    def disturbance(self) -> str | None:
        """Why a test on the processors was not left alone; None where it was."""
        if self.others > MOST_OTHER_CPUS:
            return f"other processes kept {self.others:.1f} CPUs busy"
        if self.stolen is not None and self.stolen > MOST_STOLEN_CPUS:
            return f"the hypervisor gave {self.stolen:.1f} CPUs to others"
        return None


def cpu_use(before: CpuSeconds | None, after: CpuSeconds | None) -> CpuUse | None:
    """Return what others used between two looks; None where that cannot be said."""
    if before is None or after is None or after.t_s - before.t_s < LEAST_S:
        return None
    seconds = after.t_s - before.t_s
    busy_s, own_s = after.busy_s - before.busy_s, after.own_s - before.own_s
    stolen_s = None
    if before.stolen_s is not None and after.stolen_s is not None:
        stolen_s = max(after.stolen_s - before.stolen_s, 0.0)
    return CpuUse(
        others=max(busy_s - own_s, 0.0) / seconds,
        stolen=None if stolen_s is None else stolen_s / seconds,
    )


def more_disturbed(one: CpuUse | None, other: CpuUse | None) -> CpuUse | None:
    """Return that of two passes in which others did more."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda use: use.others + (use.stolen or 0.0))
