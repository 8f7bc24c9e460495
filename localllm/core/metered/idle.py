"""The draw of a machine that has the model loaded and nothing to do, and energy beyond it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from localllm.core.metered.readings import Energy, Idle, Trace, Unmeasured
from localllm.core.metered.window import energy
from localllm.units import format_duration

STRICT_S = 10.0
"""Length of an idle window that a benchmark asks for, before and after."""
LEAST_S = 1.0
"""Length of an idle window that anybody asks for."""
DRIFT_SIGMAS = 3.0
"""Idle windows that differ by more than so many standard errors have drifted."""


def idle_power(
    trace: Trace, windows: Sequence[tuple[float, float]], *, strict: bool = False
) -> Idle | Unmeasured:
    """Return the mean draw over windows in which the model was loaded and nothing ran, in watts.

    ``windows``: (began, ended), in order of time. ``strict``: at least two, of ``STRICT_S`` each,
    all of them measured; otherwise those count that were measured for ``LEAST_S``. Windows that
    disagree widen the error to half of what lies between them, and the drift is reported.
    """
    least_s = STRICT_S if strict else LEAST_S
    known: list[Energy] = []
    why = Unmeasured(reason="there was no time without work")
    for began_s, ended_s in windows:
        found: Energy | Unmeasured = Unmeasured(
            reason=f"{format_duration(max(ended_s - began_s, 0.0))} of idling are too short: "
            f"{format_duration(least_s)} are needed"
        )
        # Clock arithmetic may lose a little of a window that was just long enough.
        if ended_s - began_s >= least_s - 1e-6:
            found = energy(trace, began_s, ended_s)
        if isinstance(found, Unmeasured):
            why = found
        else:
            known.append(found)
    if not known or (strict and len(known) < len(windows)):
        return why
    if strict and len(known) < 2:
        return Unmeasured(reason="idling was measured only once: before and after are needed")
    watts = sum(part.joules for part in known) / sum(part.seconds for part in known)
    sigmas_w = [part.sigma_j / part.seconds for part in known]
    sigma_w = math.hypot(*(part.sigma_j for part in known)) / sum(part.seconds for part in known)
    low, high = (pick(known, key=lambda part: part.mean_w) for pick in (min, max))
    apart_w = high.mean_w - low.mean_w
    drifted = apart_w > DRIFT_SIGMAS * math.hypot(
        sigmas_w[known.index(low)], sigmas_w[known.index(high)]
    )
    return Idle(
        watts=watts,
        sigma_w=max(sigma_w, apart_w / 2) if drifted else sigma_w,
        scope=trace.source.scope,
        drift_w=known[-1].mean_w - known[0].mean_w if drifted else None,
    )


def with_idle(energy: Energy, idle: Idle) -> Energy:
    """Return the energy with the idle draw of the same scope beside it.

    Raises ``ValueError`` for another scope. Subtract per meter, before ``together``.
    """
    if idle.scope != energy.scope:
        raise ValueError(f"idle draw of {idle.scope} beside the energy of {energy.scope}")
    return replace(energy, idle_w=idle.watts, idle_sigma_w=idle.sigma_w)
