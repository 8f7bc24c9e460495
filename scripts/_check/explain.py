"""Why a log and the formulas differ, where that is known: a reason per row, with its evidence."""

from __future__ import annotations

from dataclasses import replace

from localllm.core.memory import padded_n_ctx
from localllm.units import MiB

from .compare import Prediction, Row
from .logs import LoggedRun
from .rebuild import Rebuilt

SET_ROWS = "2025-08"
"""llama.cpp#14285 and #14959 (July 2025): K and V are written through row indices, which are inputs
of the graph."""


def reason(run: LoggedRun, rebuilt: Rebuilt, prediction: Prediction, row: Row) -> Row:
    """Return a row with its reason: why it was not compared, or why it differs."""
    why = _not_comparable(run, rebuilt, prediction, row)
    if why is not None:
        return replace(row, compared=False, reason=why)
    if not row.is_outlier:
        return row
    return replace(row, reason=_explained(run, prediction, row))


def _not_comparable(
    run: LoggedRun, rebuilt: Rebuilt, prediction: Prediction, row: Row
) -> str | None:
    if row.term in ("weights", "metered") and rebuilt.weights_doubt is not None:
        return rebuilt.weights_doubt
    if row.term == "compute" and run.runner == "ik_llama.cpp":
        return "ik_llama.cpp has graphs of its own; its compute buffers do not compare"
    if row.term in ("kv", "compute", "metered") and run.n_ctx is None:
        return "the log does not say the context"
    if row.term in ("kv", "compute") and run.no_kv_offload:
        return "the cache was kept in RAM (-nkvo)"
    return None


def _explained(run: LoggedRun, prediction: Prediction, row: Row) -> str | None:
    logged, predicted = row.logged_mib, row.predicted_mib
    assert predicted is not None
    return None
