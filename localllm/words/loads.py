"""What a load says: how far it is, what is loaded and where, and what it took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localllm.core.text import printable
from localllm.units import counted, format_bytes, format_duration

if TYPE_CHECKING:
    from localllm.core.generation import Loaded, PromptProgress
    from localllm.core.plan import Plan
    from localllm.session import LocalModel

_BAR = 16
_MAX_NAME = 28
_TEMPLATES = {"model": "from the model", "built-in": "built in", "none": "none"}


def label(model: LocalModel) -> str:
    """Return a model's name and quantisation for a line that has little room."""
    name = printable(model.name).replace("\n", " ")
    name = name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"
    quant = model.spec.quant
    return name if quant.lower() in name.lower() else f"{name} {quant}"


def short_name(reference: str) -> str:
    """Return what finds a model, of a path its end, for a line that has little room."""
    return printable(reference.rpartition("/")[2] if reference.startswith("/") else reference)


def progress_text(fraction: float, model: LocalModel) -> str:
    """Return how far a load has come, for one line."""
    filled = round(_BAR * fraction)
    bar = "█" * filled + "░" * (_BAR - filled)
    return f"loading {label(model)} {bar} {fraction:4.0%} · {read_text(fraction, model)}"


def read_text(fraction: float, model: LocalModel) -> str:
    """Return how many bytes of a model are read: ``1.20 GiB of 4.58 GiB``."""
    n_bytes = model.spec.file_bytes
    return f"{format_bytes(round(fraction * n_bytes))} of {format_bytes(n_bytes)}"


def proving_text(progress: PromptProgress) -> str:
    """Return how far the proof of a context has come."""
    return f"proving the context: {progress.n_done:,}/{progress.n_total:,} tokens"


def model_line(model: LocalModel | None, plan: Plan | None, loaded: Loaded | None) -> str:
    """Return what is loaded and how it is placed, in one line, the name first."""
    if plan is None or model is None:
        return "not loaded"
    parts = [label(model), format_bytes(model.spec.file_bytes), placement(plan)]
    if loaded is not None:
        parts.append(f"context {loaded.n_ctx:,} ({_kv(plan)})")
    return " · ".join(parts)


def load_line(
    loaded: Loaded | None, *, planned_bytes: int | None, measured_bytes: int | None
) -> str:
    """Return what the load showed: predicted beside measured memory, the time, the template."""
    parts: list[str] = []
    if planned_bytes is not None:
        parts.append(
            f"memory {format_bytes(planned_bytes)} planned, "
            + (
                f"{format_bytes(measured_bytes)} measured"
                if measured_bytes is not None
                else "not measured"
            )
        )
    if loaded is not None:
        parts.append(f"loaded in {format_duration(loaded.load_s)}")
        parts.append(f"template {_TEMPLATES[loaded.template]}")
    return " · ".join(parts)


def placement(plan: Plan) -> str:
    """Return where the layers lie: ``27/37 layers on CUDA0``, or the processor's threads."""
    names = [d.name for d in plan.devices if d.kind == "gpu"]
    if not names or not plan.n_gpu_layers:
        return f"CPU, {counted(plan.n_threads, 'thread')}"
    return f"{plan.n_gpu_layers}/{plan.n_layer_total} layers on {' + '.join(names)}"


def _kv(plan: Plan) -> str:
    if plan.type_k == plan.type_v:
        return f"KV {plan.type_k}"
    return f"K {plan.type_k}, V {plan.type_v}"
