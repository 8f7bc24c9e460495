"""What one meter's readings say: the energy of a window, and the power of this moment.

The arithmetic of counters is in ``counters.py``, of sensors of watts in ``sensors.py``.
"""

from __future__ import annotations

import math

from localllm.core.metered.counters import counted_j
from localllm.core.metered.readings import Energy, Trace, Unmeasured
from localllm.core.metered.sensors import integrated_j
from localllm.core.metered.stretches import (
    ROUGH_VALUES,
    between,
    longest_gap_s,
    looks,
    stretch,
    usable,
)

LIVE_S = 1.0
"""Over which time the live power of a counter is taken: ten ticks of NVML's."""


def energy(trace: Trace, began_s: float, ended_s: float) -> Energy | Unmeasured:
    """Return the energy that a meter's scope took from ``began_s`` to ``ended_s``.

    Readings a period (of an average: a window) beyond either end make it more precise. Unmeasured
    where the readings do not cover the window, the counter fell, the meter was lost or the machine
    slept in it.
    """
    near = stretch(trace, began_s, ended_s)
    if isinstance(near, Unmeasured):
        return near
    source = trace.source
    account = counted_j if source.kind == "counter" else integrated_j
    found = account(source, near, began_s, ended_s)
    if isinstance(found, Unmeasured):
        return found
    joules, sigma_j, n_values = found
    if not (math.isfinite(joules) and math.isfinite(sigma_j)):
        return Unmeasured(reason=f"too few readings of {source.label}")
    return Energy(
        joules=joules,
        sigma_j=sigma_j,
        gain=source.gain,
        began_s=began_s,
        ended_s=ended_s,
        scope=source.scope,
        sources=(source.name,),
        kinds=(source.kind,),
        window_s=max(source.window_s, source.period_s),
        rough=n_values < ROUGH_VALUES,
        meters=(source,),
    )


def watts_now(trace: Trace, now_s: float) -> float | None:
    """Return the power to show at ``now_s``, in watts; None where the readings are stale.

    Of a counter the mean over its ticks of the last second, of anything else the last reading.
    """
    source = trace.source
    if trace.lost is not None and (not trace.readings or trace.readings[-1].t_s < now_s):
        return None
    fresh_s = longest_gap_s(source)
    woke_s = max((t for t in trace.slept_s if t <= now_s), default=-math.inf)
    base_s = max(LIVE_S, 2 * source.period_s) if source.kind == "counter" else 0.0
    low_s = max(woke_s, now_s - fresh_s - 2 * base_s)
    near = [r for r in between(trace.readings, low_s, now_s) if usable(source, r)]
    if not near:
        return None
    if source.kind != "counter":
        return near[-1].watts if now_s - near[-1].t_s <= fresh_s else None
    ticks = looks(source, near)
    last = ticks[-1]
    rising = [last]
    for tick in reversed(ticks[:-1]):
        # A counter that fell began anew: what it said before is another count.
        if tick.value > rising[-1].value or last.t_s - tick.t_s > 1.05 * base_s:
            break
        rising.append(tick)
    seconds = last.t_s - rising[-1].t_s
    if now_s - last.t_s > fresh_s or seconds <= 0:
        return None
    watts = (last.value - rising[-1].value) / seconds
    return watts if math.isfinite(watts) else None
