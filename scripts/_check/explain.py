"""Why a log and the formulas differ, where that is known: a reason per row, with its evidence.

A reason is only given where it predicts the log's own number, or where the log says it itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from _check.compare import Prediction, Row
from _check.eras import OWN_SUM, SET_ROWS, output_was_last
from _check.logs import LoggedRun
from _check.rebuild import Rebuilt
from localllm.core.memory import padded_n_ctx
from localllm.units import MiB

_CLOSE = 0.01


def reasoned(
    run: LoggedRun, rebuilt: Rebuilt, prediction: Prediction, rows: Sequence[Row]
) -> list[Row]:
    """Return the rows with their reasons: why one was not compared, or why it differs."""
    result = []
    for row in rows:
        why = _not_comparable(run, rebuilt, prediction, row)
        if why is not None:
            result.append(replace(row, compared=False, reason=why))
        elif row.is_outlier:
            result.append(replace(row, reason=_explained(run, prediction, row, rows)))
        else:
            result.append(row)
    return result


def _not_comparable(
    run: LoggedRun, rebuilt: Rebuilt, prediction: Prediction, row: Row
) -> str | None:
    if row.term in ("weights", "metered") and rebuilt.weights_doubt is not None:
        return rebuilt.weights_doubt
    if row.term in ("kv", "compute", "metered") and run.n_ctx is None:
        return "the log does not say the context"
    if row.term == "compute":
        return _no_compute(run, prediction)
    if row.term == "kv" and run.no_kv_offload:
        return "the cache was kept in RAM (-nkvo)"
    if row.term == "metered" and run.date < OWN_SUM:
        return "llama.cpp's own sum of the time, not a meter"
    return None


def _no_compute(run: LoggedRun, prediction: Prediction) -> str | None:
    if run.runner == "ik_llama.cpp":
        return "ik_llama.cpp has graphs of its own; its compute buffers do not compare"
    if run.runner == "ollama":
        return "Ollama's engine of the time has graphs of its own"
    if run.no_kv_offload:
        return "the cache was kept in RAM (-nkvo)"
    if output_was_last(run, prediction.model) and run.devices:
        return "the output layer was in RAM (before llama.cpp#18148): other matrices are streamed"
    if _unseen_overrides(run, prediction):
        return "depends on tensor overrides that the record's command does not show"
    return None


def _explained(run: LoggedRun, prediction: Prediction, row: Row, rows: Sequence[Row]) -> str | None:
    if row.term == "compute":
        return _older_graph(run, prediction, row) or _declared(prediction, row)
    if row.term == "weights":
        if _unseen_overrides(run, prediction):
            return (
                "tensor overrides that the record's command does not show: all devices together "
                "hold what we say"
            )
        if "truncated" in run.notes:
            return f"the record is of a part of the log: {run.notes}"
        return _exchanged(row, rows) or _rearranged(run, row) or _mapped_span(run, row, rows)
    return None


def _unseen_overrides(run: LoggedRun, prediction: Prediction) -> bool:
    """Whether every device together holds what we say, and none of them what we say of it."""
    memory = prediction.memory
    logged = [each.weights for each in (*run.devices, run.host)]
    ours = [each.model_bytes / MiB for each in (*memory.devices, memory.host)]
    if not run.devices or any(each is None for each in logged):
        return False
    known = [each for each in logged if each is not None]
    apart = any(not _close(a, b) for a, b in zip(ours, known, strict=True))
    return apart and abs(sum(ours) - sum(known)) <= 0.001 * sum(known) and _moved(ours, known)


def _moved(ours: Sequence[float], logged: Sequence[float]) -> bool:
    """Whether the GPUs hold less than we say and the host more: what an override to CPU does."""
    return logged[-1] > 1.01 * ours[-1] and sum(logged[:-1]) < 0.99 * sum(ours[:-1])


def _declared(prediction: Prediction, row: Row) -> str | None:
    """An upper estimate that the breakdown declares as one, and that is above the log."""
    named = [each for each in prediction.memory.estimated if "compute" in each or "copies" in each]
    assert row.predicted_mib is not None
    if not named or row.predicted_mib < row.logged_mib:
        return None
    return f"declared an upper estimate: {named[0]}"


def _older_graph(run: LoggedRun, prediction: Prediction, row: Row) -> str | None:
    """The graph before K and V were written by row indices, on a Llama shape without experts."""
    model, shape = prediction.model, prediction.shape
    if run.date >= SET_ROWS or shape.flash_attn or model.n_expert:
        return None
    state = 4 * shape.n_ubatch * model.n_embd
    mask = 4 * padded_n_ctx(shape.n_ctx) * shape.n_ubatch
    n_devices = sum(1 for each in run.devices if each.weights)
    copies = n_devices > 1 and prediction.placement.n_gpu_layers == model.n_layer_total
    if row.device == "host":
        older, formula = state + mask, "4*ub*E + mask"
        if copies:
            older, formula = older + 3 * mask, f"{formula}, the mask in four copies"
    else:
        n_head = max(layer.n_head for layer in model.layers)
        scores = 4 * shape.n_ubatch * n_head * padded_n_ctx(shape.n_ctx)
        older, formula = scores + 4 * state + mask, "4*ub*(n_head*n_ctx + 4*E) + mask"
        if copies:
            older += 4 * state + 3 * mask
            formula = f"{formula}, and copies of 4 states and 3 masks"
    if not _close(older / MiB, row.logged_mib):
        return None
    return f"graph before row indices (llama.cpp#14285): {formula} = {older / MiB:,.1f}"


def _exchanged(row: Row, rows: Sequence[Row]) -> str | None:
    """Two devices' figures exchanged in the record: each is what we say of the other."""
    for other in rows:
        if other.term != row.term or other.device == row.device:
            continue
        if row.predicted_mib is None or other.predicted_mib is None:
            continue
        crossed = _close(row.predicted_mib, other.logged_mib)
        if crossed and _close(other.predicted_mib, row.logged_mib):
            return f"exchanged with {other.device}: each has what the other should"
    return None


def _rearranged(run: LoggedRun, row: Row) -> str | None:
    """Weights that the CPU rearranged lie beside the mapped file, which is counted whole."""
    if row.device != "host" or row.predicted_mib is None:
        return None
    beside = {
        name: mib
        for name, mib in run.host_buffers.items()
        if not name.startswith("CPU") or "REPACK" in name or "AARCH64" in name
    }
    if beside and _close(row.predicted_mib, row.logged_mib - sum(beside.values())):
        return f"{', '.join(beside)}: rearranged weights beside the mapped file, which is whole"
    return None


def _mapped_span(run: LoggedRun, row: Row, rows: Sequence[Row]) -> str | None:
    """A mapped host buffer is counted from its first to its last tensor, others' included."""
    if row.device != "host" or not run.devices or row.predicted_mib is None:
        return None
    if any(each.is_outlier for each in rows if each.term == "weights" and each.device != "host"):
        return None
    mapped = any("Mapped" in name or name == "CPU" for name in run.host_buffers)
    fits = run.file_mib is None or row.logged_mib <= 1.001 * run.file_mib
    if mapped and row.predicted_mib < row.logged_mib and fits:
        return "mapped file: the span from the first to the last host tensor, not their sum"
    return None


def _close(ours_mib: float, logged_mib: float) -> bool:
    return abs(ours_mib - logged_mib) <= max(_CLOSE * logged_mib, 0.5)
