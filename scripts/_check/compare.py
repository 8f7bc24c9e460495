"""Our breakdown of a logged run beside the log: one row per device and term.

A log is compared with the settings of its own runner and time: outputs for every token of a batch
before llama-server limited them, no flash attention unless asked before August 2025, whole caches
before sliding windows were stored short (May 2025) and in ik_llama.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from localllm.core.breakdown import MemoryModel
from localllm.core.ggml import TYPES_BY_NAME
from localllm.core.hardware import Backend, Device, Host
from localllm.core.memory import MemoryBreakdown, Placement, RunShape
from localllm.core.model import ModelSpec
from localllm.units import GiB, MiB

from .logs import LoggedDevice, LoggedRun
from .rebuild import NotRebuilt, Rebuilt, rebuild

FLASH_ATTN_BY_DEFAULT = "2025-09"
"""llama.cpp#15434 (end of August 2025)."""
SHORT_WINDOWS = "2025-06"
"""llama.cpp#13194 (20 May 2025): sliding-window layers hold their window only."""
OUTPUTS_LIMITED = "2026-06"
"""llama.cpp#23861 (30 May 2026): llama-server reserves logits for one token per sequence."""

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

    @property
    def error(self) -> float | None:
        """Predicted against logged; None where they were not compared."""
        if self.predicted_mib is None or not self.compared:
            return None
        if not self.logged_mib:
            return 0.0 if self.predicted_mib < 1 else None
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
    split_from: str
    """Where the number of layers of each device comes from."""


def compare(run: LoggedRun) -> tuple[str, list[Row]]:
    """Return how the model was built (or why not), and the rows of a record."""
    try:
        rebuilt = rebuild(run)
    except NotRebuilt as error:
        return str(error), _uncompared(run, f"model unknown: {error}")
    blocked = _blocked(run)
    if blocked is not None:
        return rebuilt.how, _uncompared(run, blocked)
    prediction = predict(run, rebuilt)
    return rebuilt.how, _rows(run, rebuilt, prediction)


def predict(run: LoggedRun, rebuilt: Rebuilt) -> Prediction:
    """Ask the formulas for a run as its runner had it."""
    model = _as_stored(run, rebuilt.spec)
    shape = _run_shape(run, model)
    devices = tuple(_device(each, run) for each in run.devices)
    offloaded = model.n_layer_total if run.offloaded is None else run.offloaded
    offloaded = min(max(offloaded, 0), model.n_layer_total) if devices else 0
    memory = MemoryModel(model, devices, _host(run))
    counts, split_from = _split(run, model, shape, offloaded)
    experts = min(run.n_cpu_moe or 0, model.n_layer) if model.n_expert and devices else 0
    placement = Placement(
        n_gpu_layers=offloaded,
        layers_per_device=counts,
        host_expert_layers=frozenset(range(experts)),
    )
    return Prediction(
        model=model,
        memory=memory.breakdown(placement, shape),
        shape=shape,
        placement=placement,
        split_from=split_from,
    )


def _run_shape(run: LoggedRun, model: ModelSpec) -> RunShape:
    n_ctx = run.n_ctx or min(model.n_ctx_train or 4096, 4096)
    n_batch = run.n_batch or (512 if run.date < "2024-03" else 2048)
    n_ubatch = min(run.n_ubatch or 512, n_batch, n_ctx)
    n_seq = run.n_seq or 1
    limited = run.date >= OUTPUTS_LIMITED and run.runner == "llama.cpp"
    return RunShape(
        n_ctx=n_ctx,
        n_ubatch=n_ubatch,
        type_k=_cache_type(run.type_k),
        type_v=_cache_type(run.type_v or run.type_k),
        flash_attn=_flash_attn(run),
        n_seq=n_seq,
        n_outputs_max=n_seq if limited else n_batch,
        repack=any("REPACK" in name.upper() for name in run.host_buffers),
    )


def _flash_attn(run: LoggedRun) -> bool:
    if run.flash_attn is not None:
        return run.flash_attn
    words = run.command.split()
    if "-fa" in words or "--flash-attn" in words:
        return True
    return run.date >= FLASH_ATTN_BY_DEFAULT and run.runner == "llama.cpp"


def _cache_type(name: str | None) -> str:
    return name if name in TYPES_BY_NAME else "f16"


def _as_stored(run: LoggedRun, model: ModelSpec) -> ModelSpec:
    """Return the model as the runner keeps its cache: whole where windows were not stored short."""
    whole = run.runner == "ik_llama.cpp" or run.date < SHORT_WINDOWS or run.swa_full
    if not model.n_swa or not whole:
        return model
    layers = tuple(replace(layer, is_swa=False) for layer in model.layers)
    return replace(model, n_swa=0, layers=layers)


def _device(logged: LoggedDevice, run: LoggedRun) -> Device:
    prefix = re.match(r"[A-Za-z]+", logged.name)
    backend = _BACKENDS.get(prefix[0] if prefix else "", "other")
    return Device(
        name=logged.name,
        description=run.gpus[0] if run.gpus else logged.name,
        kind="gpu",
        backend=backend,
        total_bytes=1024 * GiB,
        free_bytes=1024 * GiB,
    )


def _host(run: LoggedRun) -> Host:
    return Host(
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
) -> tuple[tuple[int, ...], str]:
    """Return the layers of each device, the output layer counted as one, and where from.

    A log does not print them; the cache of each device does, layer by layer.
    """
    n = len(run.devices)
    if n <= 1:
        return (offloaded,) * n, "one device"
    counts = _split_by_cache(run, model, shape, offloaded)
    if counts is not None:
        return counts, "cache of each device"
    even = [offloaded * (i + 1) // n - offloaded * i // n for i in range(n)]
    return tuple(even), "assumed even"


def _split_by_cache(
    run: LoggedRun, model: ModelSpec, shape: RunShape, offloaded: int
) -> tuple[int, ...] | None:
    whole = MemoryModel(model, (), _host(run))
    layers = [_layer_cache_mib(whole, model, shape, i) for i in range(model.n_layer)]
    at = model.n_layer_total - offloaded
    counts: list[int] = []
    for device in run.devices:
        if device.kv is None:
            return None
        total, first = 0.0, at
        while at < model.n_layer and total + layers[at] / 2 < device.kv:
            total += layers[at]
            at += 1
        if abs(total - device.kv) > max(0.01 * device.kv, 1.0):
            return None
        counts.append(at - first)
    if at != model.n_layer:
        return None
    counts[-1] += model.n_layer_total - at
    return tuple(counts)


def _layer_cache_mib(memory: MemoryModel, model: ModelSpec, shape: RunShape, layer: int) -> float:
    """Cache of one layer: what the host holds more with it than without."""

    def host(n_gpu_layers: int) -> int:
        device = Device(
            name="GPU", description="", kind="gpu", backend="cuda", total_bytes=1, free_bytes=1
        )
        here = memory.with_devices((device,))
        placement = Placement(n_gpu_layers=n_gpu_layers, layers_per_device=(n_gpu_layers,))
        return here.breakdown(placement, shape).host.context_bytes

    total = model.n_layer_total
    return (host(total - layer - 1) - host(total - layer)) / MiB


# -- rows ----------------------------------------------------------------------------------------


def _rows(run: LoggedRun, rebuilt: Rebuilt, prediction: Prediction) -> list[Row]:
    from .explain import reason

    memory = prediction.memory
    rows: list[Row] = []
    for logged, terms in zip(run.devices, memory.devices, strict=True):
        values = (terms.model_bytes, terms.context_bytes, terms.compute_bytes)
        rows += _device_rows(logged, values)
    host = memory.host
    rows += _device_rows(run.host, (host.model_bytes, host.context_bytes, host.compute_bytes))
    split_kv = [row for row in rows if row.term == "kv"]
    if run.kv_total is not None and not split_kv:
        total = host.context_bytes + sum(each.context_bytes for each in memory.devices)
        rows.append(
            Row(device="all", term="kv", logged_mib=run.kv_total, predicted_mib=total / MiB)
        )
    if run.vram_total is not None:
        needed = sum(each.needed_bytes for each in memory.devices)
        if memory.devices:
            rows.append(
                Row(
                    device="all GPUs",
                    term="metered",
                    logged_mib=run.vram_total,
                    predicted_mib=needed / MiB,
                )
            )
    return [reason(run, rebuilt, prediction, row) for row in rows]


def _device_rows(logged: LoggedDevice, predicted: Sequence[int]) -> list[Row]:
    return [
        Row(
            device=logged.name,
            term=term,
            logged_mib=mib,
            predicted_mib=n_bytes / MiB,
        )
        for term, n_bytes in zip(TERMS, predicted, strict=True)
        if (mib := getattr(logged, term)) is not None
    ]


def _uncompared(run: LoggedRun, why: str) -> list[Row]:
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
    if "Meta(" in run.command or (run.split_mode or "") in ("row", "tensor"):
        return f"tensors are split by rows (-sm {run.split_mode})"
    return None
