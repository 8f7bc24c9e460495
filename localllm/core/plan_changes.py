"""What one plan does otherwise than another, in words: ``3 layers fewer lie on GPUs, 29 of 33``."""

from __future__ import annotations

from collections.abc import Iterator

from localllm.core.plan import Plan
from localllm.core.policy import kv_label
from localllm.core.prediction import run_of_plan
from localllm.units import format_bytes


def changes(before: Plan, after: Plan) -> str:
    """Return what a plan with less memory gives up, as a clause without its full stop."""
    said = [*_placement(before, after), *_settings(before, after)]
    if not said:
        needed = [sum(row.needed_bytes for row in plan.devices) for plan in (before, after)]
        said = [f"{format_bytes(needed[0] - needed[1])} less in all"]
    return "; ".join(said)


def _placement(before: Plan, after: Plan) -> Iterator[str]:
    fewer, total = before.n_gpu_layers - after.n_gpu_layers, after.n_layer_total
    if fewer > 0 and not after.n_gpu_layers:
        yield f"all {total} layers run on the CPU"
    elif fewer > 0:
        layers = "1 layer" if fewer == 1 else f"{fewer} layers"
        yield f"{layers} fewer on {_places(after)}, {after.n_gpu_layers} of {total}"
    experts = _n_host_experts(after)
    more = experts - _n_host_experts(before)
    if more > 0:
        layers = "1 more layer" if more == 1 else f"{more} more layers"
        yield f"the experts of {layers} in RAM, {experts} of {after.model.n_layer}"
    if not fewer and after.n_gpu_layers and _layers(before) != _layers(after):
        parts = ", ".join(f"{n} on {name}" for name, n in _layers(after).items() if n)
        yield f"the layers divided anew, {parts}"


def _settings(before: Plan, after: Plan) -> Iterator[str]:
    kv, kv_before = (kv_label(plan.type_k, plan.type_v) for plan in (after, before))
    if kv != kv_before:
        yield f"a KV cache in {kv} instead of {kv_before}"
    if after.n_ctx < before.n_ctx:
        yield f"a context of {after.n_ctx:,} tokens instead of {before.n_ctx:,}"
    if after.n_ubatch < before.n_ubatch:
        yield f"ubatches of {after.n_ubatch:,} tokens instead of {before.n_ubatch:,}"
    if before.repack and not after.repack:
        yield "the weights as they are in the file, not rearranged for this CPU"
    if after.use_mmap and not before.use_mmap:
        yield "the file mapped and not read into memory"


def _places(plan: Plan) -> str:
    return " and ".join(row.name for row in plan.devices if row.kind == "gpu" and row.n_layers)


def _layers(plan: Plan) -> dict[str, int]:
    return {row.name: row.n_layers for row in plan.devices if row.kind == "gpu"}


def _n_host_experts(plan: Plan) -> int:
    return len(run_of_plan(plan).placement.host_expert_layers)
