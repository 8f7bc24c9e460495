"""Our breakdown of a logged run beside the log: one row per device and term."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from _check.eras import (
    STREAMING,
    as_stored,
    output_was_last,
    run_shape,
    with_output_in_ram,
    with_states,
)
from _check.logs import LoggedDevice, LoggedRun
from _check.overrides import (
    host_expert_layers,
    inferred_experts,
    overrides_of,
    placed_weights,
)
from _check.rebuild import NotRebuilt, Rebuilt, rebuild
from localllm.core.breakdown import MemoryModel
from localllm.core.cache import cache_refusal
from localllm.core.hardware import Backend, Device, Host
from localllm.core.memory import MemoryBreakdown, Placement, RunShape
from localllm.core.model import ModelSpec
from localllm.errors import LocalLLMError, UsageError
from localllm.units import GiB, MiB

_BACKENDS: dict[str, Backend] = {
    "CUDA": "cuda",
    "VRAM": "cuda",
    "ROCm": "rocm",
    "HIP": "rocm",
    "Vulkan": "vulkan",
    "Metal": "metal",
    "MTL": "metal",
    "RPC": "rpc",
}
TERMS = ("weights", "kv", "compute")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One term of one device."""

    device: str
    term: str
    logged_mib: float
    predicted_mib: float | None
    """None where nothing can be predicted; ``reason`` says why."""
    reason: str | None = None
    """Why the two differ, or why they were not compared."""
    compared: bool = True
    note: str | None = None
    """What else is known of an outlier; it explains nothing."""

    @property
    def error(self) -> float | None:
        """Predicted against logged; None where they were not compared."""
        if self.predicted_mib is None or not self.compared:
            return None
        if not self.logged_mib:
            return 0.0 if self.predicted_mib < 1 else 1.0
        return (self.predicted_mib - self.logged_mib) / self.logged_mib

    @property
    def is_outlier(self) -> bool:
        """Off by more than the term allows: 1 % and 2 MiB, compute buffers 3 % and 16 MiB."""
        if self.error is None or self.predicted_mib is None:
            return False
        share, least = (0.03, 16.0) if self.term == "compute" else (0.01, 2.0)
        return abs(self.error) > share and abs(self.predicted_mib - self.logged_mib) > least

    @property
    def verdict(self) -> str:
        """``ok``, ``explained``, ``unexplained`` or ``not compared``."""
        if self.error is None:
            return "not compared"
        if not self.is_outlier:
            return "ok"
        return "explained" if self.reason else "unexplained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the formulas say of a logged run, and what they were told."""

    model: ModelSpec
    memory: MemoryBreakdown
    shape: RunShape
    placement: Placement
    devices: tuple[Device, ...]
    notes: tuple[str, ...] = ()
    """What was not in the log and had to be inferred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One record compared."""

    how: str
    """How its model was built, or why it was not."""
    rows: Sequence[Row]
    rebuilt: Rebuilt | None = None
    prediction: Prediction | None = None


def compare(run: LoggedRun) -> Comparison:
    """Return the rows of a record, each with its error or why there is none."""
    from _check.explain import reasoned

    try:
        rebuilt = rebuild(run)
    except NotRebuilt as error:
        return Comparison(how=str(error), rows=uncompared(run, f"model unknown: {error}"))
    blocked = _blocked(run)
    if blocked is not None:
        return Comparison(how=rebuilt.how, rows=uncompared(run, blocked))
    try:
        prediction = predict(run, rebuilt)
    except LocalLLMError as error:
        why = f"no plan for these settings: {error}"
        return Comparison(how=rebuilt.how, rows=uncompared(run, why))
    return Comparison(
        how="; ".join((rebuilt.how, *prediction.notes)),
        rows=reasoned(run, rebuilt, prediction, _rows(run, prediction)),
        rebuilt=rebuilt,
        prediction=prediction,
    )


def predict(run: LoggedRun, rebuilt: Rebuilt) -> Prediction:
    """Ask the formulas for a run as its runner had it."""
    model = as_stored(run, rebuilt.spec)
    shape = run_shape(run, model)
    refusal = cache_refusal(model, shape)
    if refusal is not None:
        raise UsageError(refusal)
    devices = tuple(_device(each, run) for each in run.devices)
    source = MemoryModel(model, devices, LOGGED_HOST)
    last = output_was_last(run, model)
    offloaded = model.n_layer_total if run.offloaded is None else run.offloaded + last
    offloaded = min(max(offloaded, 0), model.n_layer_total) if devices else 0
    counts, split = _split(run, model, shape, offloaded)
    placement = Placement(n_gpu_layers=offloaded, layers_per_device=counts)
    notes = [split] if split else []
    memory = source.breakdown(placement, shape)
    overrides = overrides_of(run, model) if devices else []
    experts = host_expert_layers(model, overrides) if overrides else None
    if not overrides and model.n_expert and devices and rebuilt.weights_doubt is None:
        predicted = [terms.model_bytes for terms in memory.devices]
        experts = inferred_experts(run, model, placement, predicted)
        if experts:
            notes.append(f"experts of {len(experts)} layers in RAM, inferred from the weights")
    if experts:
        placement = replace(placement, host_expert_layers=experts)
        memory = source.breakdown(placement, shape)
    if overrides:
        memory = _with_weights(memory, *placed_weights(model, placement, devices, overrides))
        notes.append("tensor overrides of its command")
    if last and devices:
        memory = with_output_in_ram(memory, model)
    if run.unified_cache and (run.n_seq or 1) > 1:
        several = source.breakdown(placement, replace(shape, n_seq=run.n_seq or 1))
        memory = with_states(memory, several, model)
    return Prediction(
        model=model,
        memory=memory,
        shape=shape,
        placement=placement,
        devices=devices,
        notes=tuple(notes),
    )


def _with_weights(
    memory: MemoryBreakdown, on_device: Sequence[int], on_host: int
) -> MemoryBreakdown:
    devices = tuple(
        replace(terms, model_bytes=n_bytes)
        for terms, n_bytes in zip(memory.devices, on_device, strict=True)
    )
    return replace(memory, devices=devices, host=replace(memory.host, model_bytes=on_host))


def _device(logged: LoggedDevice, run: LoggedRun) -> Device:
    prefix = re.match(r"[A-Za-z]+", logged.name)
    backend = _BACKENDS.get(prefix[0] if prefix else "", "other")
    if run.date < STREAMING:
        backend = "other"  # a device that streams no weights
    return Device(
        name=logged.name,
        description=run.gpus[0] if run.gpus else logged.name,
        kind="gpu",
        backend=backend,
        total_bytes=1024 * GiB,
        free_bytes=1024 * GiB,
    )


LOGGED_HOST = Host(
    cpu="logged",
    os="linux",
    machine="x86_64",
    total_bytes=4096 * GiB,
    available_bytes=4096 * GiB,
    isa=("avx2",),
)


# -- layers per device ---------------------------------------------------------------------------


def _split(
    run: LoggedRun, model: ModelSpec, shape: RunShape, offloaded: int
) -> tuple[tuple[int, ...], str | None]:
    """Return the layers of each device, the output layer counted as one, and what was assumed.

    A log does not print them; the cache of each device does, layer by layer.
    """
    n = len(run.devices)
    if n <= 1 or offloaded == 0:
        return (offloaded,) * n, None
    counts = _split_by_cache(run, model, shape, offloaded)
    if counts is not None:
        return counts, None
    even = [offloaded * (i + 1) // n - offloaded * i // n for i in range(n)]
    return tuple(even), "layers assumed evenly divided"


def _split_by_cache(
    run: LoggedRun, model: ModelSpec, shape: RunShape, offloaded: int
) -> tuple[int, ...] | None:
    layers = _layer_caches_mib(model, shape)
    at = model.n_layer_total - offloaded
    if not any(device.kv for device in run.devices) or not any(layers):
        return None
    counts: list[int] = []
    for device in run.devices:
        logged = device.kv or 0.0
        total, first = 0.0, at
        while at < model.n_layer and total + layers[at] / 2 < logged:
            total += layers[at]
            at += 1
        if abs(total - logged) > max(0.01 * logged, 1.0):
            return None
        counts.append(at - first)
    if at != model.n_layer:
        return None
    holder = max(i for i, count in enumerate(counts) if count)
    counts[holder] += model.n_layer_total - at
    return tuple(counts)


def _layer_caches_mib(model: ModelSpec, shape: RunShape) -> list[float]:
    """Cache of each layer: what a device holds more with it than without."""
    device = Device(
        name="GPU", description="", kind="gpu", backend="cuda", total_bytes=1, free_bytes=1
    )
    source = MemoryModel(model, (device,), LOGGED_HOST).with_compute(None)
    on_device = [
        source.breakdown(Placement(n_gpu_layers=n, layers_per_device=(n,)), shape)
        .devices[0]
        .context_bytes
        for n in range(1, model.n_layer_total + 1)
    ]
    steps = [b - a for a, b in pairwise(on_device)]
    return [step / MiB for step in reversed(steps)]


# -- rows ----------------------------------------------------------------------------------------


def _rows(run: LoggedRun, prediction: Prediction) -> list[Row]:
    memory = prediction.memory
    rows: list[Row] = []
    for logged, terms in zip(run.devices, memory.devices, strict=True):
        values = (terms.model_bytes, terms.context_bytes, terms.compute_bytes)
        rows += _device_rows(logged, values)
    host = memory.host
    rows += _device_rows(run.host, (host.model_bytes, host.context_bytes, host.compute_bytes))
    if run.kv_total is not None and not any(row.term == "kv" for row in rows):
        total = host.context_bytes + sum(each.context_bytes for each in memory.devices)
        rows.append(_row("all", "kv", run.kv_total, total))
    if run.vram_total is not None and memory.devices:
        needed = sum(each.needed_bytes for each in memory.devices)
        rows.append(_row("all GPUs", "metered", run.vram_total, needed))
    return rows


def _row(device: str, term: str, logged_mib: float, predicted_bytes: int) -> Row:
    return Row(device=device, term=term, logged_mib=logged_mib, predicted_mib=predicted_bytes / MiB)


def _device_rows(logged: LoggedDevice, predicted: Sequence[int]) -> list[Row]:
    return [
        _row(logged.name, term, mib, n_bytes)
        for term, n_bytes in zip(TERMS, predicted, strict=True)
        if (mib := getattr(logged, term)) is not None
    ]


def uncompared(run: LoggedRun, why: str) -> list[Row]:
    """Return what a record logs, with why nothing is said of it."""
    rows = [
        Row(device=each.name, term=term, logged_mib=mib, predicted_mib=None, reason=why)
        for each in (*run.devices, run.host)
        for term in TERMS
        if (mib := getattr(each, term)) is not None
    ]
    if run.kv_total is not None and not any(row.term == "kv" for row in rows):
        rows.append(
            Row(device="all", term="kv", logged_mib=run.kv_total, predicted_mib=None, reason=why)
        )
    return rows


def _blocked(run: LoggedRun) -> str | None:
    """Why nothing of a run can be compared, whatever the model."""
    if run.format == "breakdown" and "fit" in run.notes + run.quality:
        return "a step of a search (--fit), not a load"
    if (run.split_mode or "") in ("row", "tensor", "graph"):
        return f"tensors are split by rows (-sm {run.split_mode})"
    return None
