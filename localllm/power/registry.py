"""Which meters this machine has: every kind is asked once, in the order of preference.

A new kind of meter is one file beside this one and one line in ``METERS``.
"""

from __future__ import annotations

from importlib import import_module

from localllm.power.meter import Opened, Opener, Wanted


def _nvml(wanted: Wanted) -> Opened:
    opener: Opener = import_module("localllm.power.nvml").open_nvml
    return opener(wanted)


METERS: tuple[Opener, ...] = (_nvml,)
"""In order of preference. Each imports what it needs when it is asked, and not before."""


def open_meters(wanted: Wanted) -> Opened:
    """Open the meters of every kind; several scopes at once, and why others have none.

    Never raises. A kind that fails in a way that it did not foresee is missing, with what it said.
    """
    opened = [_asked(opener, wanted) for opener in METERS]
    return Opened(
        meters=tuple(meter for kind in opened for meter in kind.meters),
        watchers=tuple(watcher for kind in opened for watcher in kind.watchers),
        missing=tuple(missing for kind in opened for missing in kind.missing),
    )


def _asked(opener: Opener, wanted: Wanted) -> Opened:
    try:
        return opener(wanted)
    except ModuleNotFoundError:
        return Opened()
