"""A look at which meters there are, each opened, read once and closed again; nothing is woken."""

from __future__ import annotations

from localllm.core.metered.meters import SeenMeter, SeenMeters
from localllm.power.meter import Meter, MeterLost, Missing, Wanted
from localllm.power.registry import open_meters

_COUNTS = "a counter tells joules; watts need two readings"
_SILENT = "it gave no reading"


def see_meters(wanted: Wanted) -> SeenMeters:
    """Return the meters that answer, with their watts where one reading tells them.

    GPUs that sleep are among the missing.
    """
    opened = open_meters(wanted)
    seen: list[SeenMeter] = []
    missing = list(opened.missing)
    for meter in opened.meters:
        try:
            seen.append(_look(meter))
        except MeterLost as lost:
            source = meter.source
            missing.append(Missing(scope=source.scope, device=source.device, reason=lost.reason))
        finally:
            meter.close()
    for watcher in opened.watchers:
        watcher.close()
    return SeenMeters(meters=tuple(seen), missing=tuple(missing))


def _look(meter: Meter) -> SeenMeter:
    source = meter.source
    if source.kind == "counter":
        return SeenMeter(source=source, unknown=_COUNTS)
    reading = meter.read()
    watts = None if reading is None else reading.watts
    return SeenMeter(source=source, watts=watts, unknown=_SILENT if watts is None else None)
