"""Why a plan is what it is: reasons, and the distance to the next cliff.

Words and comparisons only; the placement itself is decided in ``planner.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

from localllm.core.hardware import Hardware
from localllm.core.memory import N_CTX_PADDING
from localllm.core.model import ModelSpec
from localllm.core.plan import Cliff, DeviceMemory
from localllm.core.policy import KV_CHOICES, Policy, kv_label
from localllm.core.settings import BASE_N_CTX, DEFAULT_N_UBATCH
from localllm.core.solution import Solution
from localllm.core.split import budget_bytes
from localllm.units import format_bytes


def reasons(
    model: ModelSpec, hardware: Hardware, policy: Policy, solution: Solution
) -> tuple[str, ...]:
    """Return the sentences that explain a placement, the most important first."""
    return (
        *_placement_reasons(model, hardware, policy, solution),
        *_shortage_reasons(hardware, solution),
        *_context_reasons(model, policy, solution),
        *_batch_reasons(policy, solution),
        *_kv_reasons(policy, solution),
        *_host_reasons(policy, solution),
        *_thread_reasons(hardware, policy),
    )


def cliff(
    model: ModelSpec,
    hardware: Hardware,
    policy: Policy,
    solution: Solution,
    *,
    further: Solution | None,
) -> Cliff | None:
    """Return how far the nearest change of the plan is, on the device where it would come first.

    What is missing comes first; then what the next step lacks; then the room that is left.
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
    if further is not None:
        lacking = min((row for row in further.rows if row.spare_bytes is not None), key=_spare)
        if _spare(lacking) < 0:
            experts = len(solution.placement.host_expert_layers)
            fewer = len(further.placement.host_expert_layers) < experts
            what = "the experts of one more layer fit" if fewer else "one more layer fits"
            return Cliff(
                device=lacking.name,
                bytes=_spare(lacking),
                consequence=f"with this much more, {what} on the GPU",
            )
    if short.kind == "gpu":
        loss = _loss(model, hardware, policy, solution)
    else:
        loss = _loss_in_ram(model, policy, solution)
    return Cliff(
        device=short.name,
        bytes=_spare(short),
        consequence=f"if others take more than this, {loss}",
    )


def _loss(model: ModelSpec, hardware: Hardware, policy: Policy, solution: Solution) -> str:
    """What gives way first on a GPU that others fill: what the user left to the planner."""
    if policy.n_ctx == "max" and _cache_gives_way(model, solution, above=BASE_N_CTX):
        return "the context gets shorter"
    mixture = bool(model.n_expert) and policy.n_cpu_moe is None
    if mixture:
        last = "the experts of a layer fall back to RAM"
    elif policy.n_gpu_layers is not None:
        last = "the plan no longer fits"
    else:
        last = "a layer falls back to RAM"
    if len(hardware.usable_devices) > 1 and policy.tensor_split is None:
        return f"layers move to another GPU, or {last}"
    if "auto" in (policy.type_k, policy.type_v) and _kv_gives_way(model, solution):
        return "the KV cache becomes coarser"
    return last


def _loss_in_ram(model: ModelSpec, policy: Policy, solution: Solution) -> str:
    """What gives way first where RAM is short, again what the user left to the planner."""
    if policy.n_ctx == "max" and _cache_gives_way(model, solution, above=N_CTX_PADDING):
        return "the context gets shorter"
    if "auto" in (policy.type_k, policy.type_v) and _kv_gives_way(model, solution):
        return "the KV cache becomes coarser"
    return "the model no longer fits in RAM"


def _cache_gives_way(model: ModelSpec, solution: Solution, *, above: int) -> bool:
    """Whether a shorter context takes less: a recurrent state is as large for any length."""
    cached = any(layer.has_kv for layer in model.layers)
    return cached and solution.settings.shape.n_ctx > above


def _kv_gives_way(model: ModelSpec, solution: Solution) -> bool:
    coarsest = solution.settings.shape.type_k == KV_CHOICES[-1]
    return not coarsest and _cache_gives_way(model, solution, above=0)


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
        why = "as asked" if fixed else _no_room(hardware, policy)
        if solution.outpaces_gpus:
            why = "it decodes faster than the GPU would"
        yield f"All {total} layers run on the CPU: {why}."
        return
    names = " and ".join(row.name for row in solution.rows[:-1] if row.n_layers)
    as_asked = ", as asked" if fixed else ""
    if n == total:
        yield f"All {total} layers lie on {names}{as_asked}."
        unused = len(hardware.usable_devices) - len(solution.devices)
        if unused:
            more = "One more GPU is" if unused == 1 else f"{unused} more GPUs are"
            yield f"{more} left free: layers over several cards do not decode faster."
    else:
        yield f"{n} of {total} layers lie on {names}{as_asked}, the first {total - n} in RAM."
    yield from _expert_reasons(model, policy, solution)


def _no_room(hardware: Hardware, policy: Policy) -> str:
    if all((budget_bytes(device, policy) or 0) <= 0 for device in hardware.usable_devices):
        return "headroom and limits leave nothing of the GPUs' free memory"
    return "no GPU has room for a single layer"


def _expert_reasons(model: ModelSpec, policy: Policy, solution: Solution) -> Iterator[str]:
    layers = sorted(solution.placement.host_expert_layers)
    if not layers:
        return
    if policy.n_cpu_moe is not None:
        yield f"The experts of the first {len(layers)} layers stay in RAM, as asked."
        return
    yield (
        f"The experts of {len(layers)} of {model.n_layer} layers (blocks {layers[0]} to "
        f"{layers[-1]}) stay in RAM: a token passes through few of them, so that costs less speed "
        f"than whole layers would."
    )


def _shortage_reasons(hardware: Hardware, solution: Solution) -> Iterator[str]:
    for row in solution.rows:
        if row.spare_bytes is not None and row.spare_bytes < 0:
            limit = hardware.host.memory_limit if row.kind == "host" else None
            if limit is not None:
                yield f"The machine's RAM is limited for this process by {limit}."
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
    elif policy.n_ctx is not None and policy.n_ctx != n_ctx:
        yield f"Context {n_ctx:,} for {policy.n_ctx:,}: llama.cpp rounds up to full cells of 256."


def _batch_reasons(policy: Policy, solution: Solution) -> Iterator[str]:
    """What llama.cpp makes of batches larger than the context, or than what is submitted."""
    n_batch, n_ubatch = solution.settings.n_batch, solution.settings.shape.n_ubatch
    if policy.n_ubatch is None and n_ubatch > DEFAULT_N_UBATCH:
        why = "that costs no layer its place on a GPU"
        if solution.rows[-1].n_layers or solution.placement.host_expert_layers:
            why = f"weights in RAM cross the bus once per ubatch, and {why}"
        yield f"Prompts go in ubatches of {n_ubatch:,} tokens, not {DEFAULT_N_UBATCH}: {why}."
    if policy.n_batch is not None and policy.n_batch > n_batch:
        yield f"Batches of {n_batch:,}, not {policy.n_batch:,}: no more than the context holds."
    if policy.n_ubatch is not None and policy.n_ubatch > n_ubatch:
        yield (
            f"A ubatch of {n_ubatch:,}, not {policy.n_ubatch:,}: llama.cpp computes no more at "
            f"once than it is given (--batch {n_batch})."
        )


def _kv_reasons(policy: Policy, solution: Solution) -> Iterator[str]:
    if "auto" not in (policy.type_k, policy.type_v):
        return
    shape = solution.settings.shape
    kv = kv_label(shape.type_k, shape.type_v)
    if kv == "f16":
        yield "KV cache in f16: a coarser one would put nothing more on a GPU."
    else:
        yield f"KV cache in {kv}: the best type that leaves as much as possible on the GPUs."


def _host_reasons(policy: Policy, solution: Solution) -> Iterator[str]:
    host = solution.rows[-1]
    if host.shared_bytes:
        yield (
            f"The GPU has no memory of its own: {format_bytes(host.shared_bytes)} of RAM are its "
            f"share."
        )
    if not solution.settings.use_mmap:
        if policy.use_mmap is None:
            yield "The file is read, not mapped: the GPU's copy would stand beside it in RAM."
        return
    if not solution.settings.shape.repack and policy.repack is None:
        yield (
            "The weights stay as they are in the file: rearranged for this CPU they would not fit "
            "in RAM."
        )
        return
    repacked = host.model_bytes - host.mapped_bytes
    if repacked:
        yield (
            f"{format_bytes(repacked)} of the weights are rearranged for this CPU and stay in "
            f"RAM; {format_bytes(host.mapped_bytes)} are the mapped file."
        )


def _thread_reasons(hardware: Hardware, policy: Policy) -> Iterator[str]:
    n, n_logical = policy.n_threads, hardware.host.n_threads_logical
    if n is not None and n > n_logical:
        yield (
            f"{n:,} threads on {n_logical:,} logical CPUs wait for each other: "
            f"{hardware.host.n_threads_default:,} would be faster."
        )


def _place_name(row: DeviceMemory) -> str:
    return "RAM" if row.kind == "host" else row.name


def _spare(row: DeviceMemory) -> int:
    return row.spare_bytes if row.spare_bytes is not None else 0
