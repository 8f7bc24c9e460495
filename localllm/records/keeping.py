"""Runs become kept measurements, and kept measurements what is known of this machine.

The one place that knows the plan, the store and the setting that switches it off.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache

from localllm.core.calibration import Observation
from localllm.core.fingerprint import formula_key, machine_key
from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.plan import Plan
from localllm.core.prediction import predicted
from localllm.records.measured import Measurement, TimedRun, measurement, observations
from localllm.records.measurements import MeasurementStore, measurements_wanted
from localllm.records.state import measurements_path


def keep_runs(
    plan: Plan,
    runs: Iterable[TimedRun],
    *,
    now: datetime,
    content_id: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Keep what was measured under a plan of this machine; return how many lines were written.

    Nothing where measurements are switched off, the plan is for another machine, or it has no
    estimate to compare with. Raises OSError.
    """
    if not is_kept(plan, environ):
        return 0
    kept: list[Measurement] = []
    for run in runs:
        estimate = predicted(plan, run.phase, n_tokens=run.n_tokens, depth=run.depth)
        if estimate is not None:
            kept.append(
                measurement(
                    plan,
                    run,
                    predicted_tok_s=estimate.formula_tok_s,
                    now=now,
                    engine=engine_version(),
                    content_id=content_id,
                )
            )
    MeasurementStore(measurements_path(environ)).keep(kept)
    return len(kept)


def is_kept(plan: Plan, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether what runs under a plan is kept: one of this machine, unless it is switched off."""
    return plan.hardware.source == THIS_MACHINE and measurements_wanted(environ)


def own_observations(
    hardware: Hardware, *, now: datetime, environ: Mapping[str, str] = os.environ
) -> tuple[Observation, ...]:
    """Return what was measured on this machine, for ``core/calibration.py``.

    Nothing for a machine that is not this one, or where measurements are switched off. Raises
    OSError.
    """
    if hardware.source != THIS_MACHINE or not measurements_wanted(environ):
        return ()
    kept = MeasurementStore(measurements_path(environ)).read()
    return observations(kept, machine=machine_key(hardware), formula=formula_key(), now=now)


@cache
def engine_version() -> str | None:
    """Return the version of llama-cpp-python; None where it is not installed."""
    import importlib.metadata  # 15 ms, which a plan need not wait for

    try:
        return importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        return None
