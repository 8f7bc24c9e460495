"""Why a plan is what it is: reasons, the distance to the next cliff, and what would change it.

Words and comparisons only; the placement itself is decided in ``planner.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.plan import Cliff, Counterfactual, DeviceMemory, TensorOverride
from localllm.core.policy import Policy
from localllm.core.solution import Solution
from localllm.errors import UsageError
from localllm.units import format_bytes

SMALLEST_SUGGESTED_N_CTX = 2048

Solve = Callable[[Policy], Solution]


def reasons(
    model: ModelSpec, hardware: Hardware, policy: Policy, solution: Solution
) -> tuple[str, ...]:
    """Return the sentences that explain a placement, the most important first."""
    return (
        *_placement_reasons(model, hardware, policy, solution),
        *_shortage_reasons(solution),
        *_context_reasons(model, policy, solution),
        *_host_reasons(policy, solution),
    )


def cliff(solution: Solution, *, next_layer: Solution | None) -> Cliff | None:
    """Return how far the nearest change of the plan is, on the device where it would come first.

    What is missing comes first; then what the next layer lacks; then the room that is left.
    """
    known = [row for row in solution.rows if row.spare_bytes is not None]
    if not known:
        return None
    short = min(known, key=_spare)
    if _spare(short) < 0:
        return Cliff(
            device=short.name,
            bytes=_spare(short),
            consequence="this much is missing for the plan to fit",
        )
    if next_layer is not None:
        lacking = min((row for row in next_layer.rows if row.spare_bytes is not None), key=_spare)
        if _spare(lacking) < 0:
            return Cliff(
                device=lacking.name,
                bytes=_spare(lacking),
                consequence="with this much more, one more layer fits on the GPU",
            )
    gpus = [row for row in known if row.kind == "gpu"]
    if gpus:
        tight = min(gpus, key=_spare)
        return Cliff(
            device=tight.name,
            bytes=_spare(tight),
            consequence="if others take more than this, a layer falls back to RAM",
        )
    return Cliff(
        device=short.name,
        bytes=_spare(short),
        consequence="if others take more than this, the model no longer fits in RAM",
    )


def counterfactuals(
    model: ModelSpec, hardware: Hardware, policy: Policy, solution: Solution, solve: Solve
) -> Iterator[Counterfactual]:
    """Yield the single changes that would put more layers on GPUs, or make the plan fit at all.

    Each is planned for real by ``solve``; those that change nothing are left out.
    """
    whole = solution.placement.n_gpu_layers == model.n_layer_total
    if solution.verdict == "fits" and (whole or not hardware.usable_devices):
        return
    now = best_shorter = _score(solution)
    for change, changed in _changes(policy, solution):
        try:
            other = solve(changed)
        except UsageError:
            continue
        shorter = changed.n_ctx != policy.n_ctx
        bar = best_shorter if shorter else now
        if other.verdict == "fits" and _score(other) > bar:
            yield Counterfactual(
                change=f"{change}: {_layers_sentence(model, other)}",
                n_gpu_layers=other.placement.n_gpu_layers,
                tg_tok_s=None,
                verdict=other.verdict,
            )
        if shorter:  # ever shorter contexts are tried: each must gain over the one before
            best_shorter = max(best_shorter, _score(other))


def _score(solution: Solution) -> tuple[bool, int]:
    return (solution.verdict == "fits", solution.placement.n_gpu_layers)


def llama_args(
    model: ModelSpec, policy: Policy, solution: Solution, overrides: tuple[TensorOverride, ...]
) -> tuple[str, ...]:
    """Return the plan as flags of llama.cpp's programs (``llama-cli``, ``llama-server``)."""
    settings, placement, shape = solution.settings, solution.placement, solution.settings.shape
    args = ["-m", model.source, "-c", str(shape.n_ctx), "-b", str(settings.n_batch)]
    args += ["-ub", str(shape.n_ubatch), "-t", str(settings.n_threads)]
    args += ["-fa", settings.flash_attn, "-ctk", shape.type_k, "-ctv", shape.type_v]
    args += ["-ngl", str(placement.n_gpu_layers)]
    if solution.devices:
        args += ["-dev", ",".join(device.name for device in solution.devices)]
    if len(solution.devices) > 1:
        args += ["-ts", ",".join(str(n) for n in placement.layers_per_device)]
    for override in overrides:
        args += ["-ot", f"{override.pattern}={override.buffer_type}"]
    if policy.use_mmap is False:
        args.append("--no-mmap")
    if not shape.repack:
        args.append("--no-repack")
    return tuple(args)


def _placement_reasons(
    model: ModelSpec, hardware: Hardware, policy: Policy, solution: Solution
) -> Iterator[str]:
    n, total = solution.placement.n_gpu_layers, model.n_layer_total
    for device in hardware.devices:
        if device.visible and device.free_bytes is None and device.total_bytes is None:
            why = device.unknown.get("total_bytes", "its memory could not be read")
            yield f"{device.name} is left out: {why}."
    if not hardware.usable_devices:
        yield (
            f"llama.cpp has no GPU here: all {total} layers run on the CPU "
            f"with {solution.settings.n_threads} threads."
        )
        return
    fixed = policy.n_gpu_layers is not None
    if n == 0:
        why = "as asked" if fixed else "no GPU has room for a single layer"
        yield f"All {total} layers run on the CPU: {why}."
        return
    names = " and ".join(device.name for device in solution.devices)
    as_asked = ", as asked" if fixed else ""
    if n == total:
        yield f"All {total} layers lie on {names}{as_asked}."
        unused = len(hardware.usable_devices) - len(solution.devices)
        if unused:
            more = "One more GPU is" if unused == 1 else f"{unused} more GPUs are"
            yield f"{more} left free: layers over several cards do not decode faster."
    else:
        yield f"{n} of {total} layers lie on {names}{as_asked}, the first {total - n} in RAM."
    if solution.placement.host_expert_layers:
        count = len(solution.placement.host_expert_layers)
        yield f"The experts of the first {count} layers stay in RAM, as asked."


def _shortage_reasons(solution: Solution) -> Iterator[str]:
    for row in solution.rows:
        if row.spare_bytes is not None and row.spare_bytes < 0:
            yield (
                f"{_place_name(row)} is short of {format_bytes(-row.spare_bytes)}: "
                f"{format_bytes(row.needed_bytes)} needed and {format_bytes(row.headroom_bytes)} "
                f"kept free, of {format_bytes(row.free_bytes or 0)}."
            )


def _context_reasons(model: ModelSpec, policy: Policy, solution: Solution) -> Iterator[str]:
    n_ctx = solution.settings.shape.n_ctx
    if policy.n_ctx == "max":
        yield f"Context {n_ctx:,}: the largest that fits without moving a layer off a GPU."
    elif policy.n_ctx is None and model.n_ctx_train > n_ctx:
        yield f"Context {n_ctx:,} by default; the model goes up to {model.n_ctx_train:,} (--ctx)."


def _host_reasons(policy: Policy, solution: Solution) -> Iterator[str]:
    host = solution.rows[-1]
    if policy.use_mmap is False:
        return
    repacked = host.model_bytes - host.mapped_bytes
    if repacked:
        yield (
            f"{format_bytes(repacked)} of the weights are rearranged for this CPU and stay in "
            f"RAM; {format_bytes(host.mapped_bytes)} are the mapped file."
        )


def _changes(policy: Policy, solution: Solution) -> Iterator[tuple[str, Policy]]:
    shape = solution.settings.shape
    if shape.type_k == shape.type_v == "f16":
        yield "q8_0 KV cache", replace(policy, type_k="q8_0", type_v="q8_0")
    n_ctx = shape.n_ctx // 2
    while n_ctx >= SMALLEST_SUGGESTED_N_CTX:
        yield f"context {n_ctx:,}", replace(policy, n_ctx=n_ctx)
        n_ctx //= 2
    if any(row.headroom_bytes for row in solution.rows[:-1]):
        yield (
            "no headroom on the GPUs",
            replace(policy, vram_headroom_bytes=0, vram_headroom_fraction=None),
        )
    if policy.n_gpu_layers is not None:
        yield "the number of GPU layers left to the planner", replace(policy, n_gpu_layers=None)


def _layers_sentence(model: ModelSpec, other: Solution) -> str:
    n, total = other.placement.n_gpu_layers, model.n_layer_total
    if n == 0:
        return "fits in RAM"
    return f"all {total} layers fit" if n == total else f"{n} of {total} layers fit"


def _place_name(row: DeviceMemory) -> str:
    return "RAM" if row.kind == "host" else row.name


def _spare(row: DeviceMemory) -> int:
    return row.spare_bytes if row.spare_bytes is not None else 0
