"""Which meters this machine has: every kind is asked once, in the order of preference.

A new kind of meter is one file beside this one and one line in ``METERS``.
"""

from __future__ import annotations

from collections.abc import Sequence

from localllm.power.meter import Opened, Opener, Wanted


def _nvml(wanted: Wanted) -> Opened:
    from localllm.power.nvml import open_nvml

    return open_nvml(wanted)


def _amdgpu(wanted: Wanted) -> Opened:
    from localllm.power.amdgpu import open_amdgpu

    return open_amdgpu(wanted)


def _apple(wanted: Wanted) -> Opened:
    from localllm.power.apple import open_apple

    return open_apple(wanted)


def _rapl(wanted: Wanted) -> Opened:
    from localllm.power.rapl import open_rapl

    return open_rapl(wanted)


def _battery(wanted: Wanted) -> Opened:
    from localllm.power.battery import open_battery

    return open_battery(wanted)


METERS: tuple[Opener, ...] = (_nvml, _amdgpu, _apple, _rapl, _battery)
"""In order of preference. Each is imported when it is asked, and not before."""


def open_meters(wanted: Wanted, openers: Sequence[Opener] = METERS) -> Opened:
    """Open the meters of every kind: several scopes at once, and why others have none.

    Some scopes hold others (a whole chip its CPU package, a whole laptop everything): which of them
    may be added is ``core/metered/sums.py``'s to say.
    """
    opened = [opener(wanted) for opener in openers]
    return Opened(
        meters=tuple(meter for kind in opened for meter in kind.meters),
        watchers=tuple(watcher for kind in opened for watcher in kind.watchers),
        missing=tuple(missing for kind in opened for missing in kind.missing),
    )
