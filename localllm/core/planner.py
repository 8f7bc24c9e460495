"""make_plan(model, hardware, policy) -> Plan. Every decision about placement is made here.

The number of GPU layers is decided in ``best_placement``, the devices in ``_device_groups``, the
split over them in ``split.py``, the context in ``_choose_n_ctx``. Memory comes from
``breakdown.py``, words from ``explain.py``; this file knows nothing of where a model or a machine
came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

from localllm.core import explain
from localllm.core.breakdown import MemoryModel
from localllm.core.hardware import Device, Hardware
from localllm.core.memory import MemoryBreakdown, Placement
from localllm.core.model import ModelSpec
from localllm.core.plan import DeviceMemory, Plan, TensorOverride
from localllm.core.policy import Policy
from localllm.core.settings import Settings, headroom_bytes, settle, wanted_n_ctx
from localllm.core.solution import Solution
from localllm.core.split import free_bytes, split_layers
from localllm.core.weights import EXPERT_PATTERN
from localllm.errors import UsageError
from localllm.units import MiB

HOST_HEADROOM_BYTES = 256 * MiB
"""RAM left to the rest of the machine beyond what the kernel already calls available."""

CTX_STEP = 256
BASE_N_CTX = 4096
"""``--ctx max`` keeps the layers that fit on GPUs at this context, as llama.cpp's own fit does."""

MAX_GROUPED_DEVICES = 8
"""With more GPUs than this only the first ones by free memory are tried as smaller groups."""


def make_plan(model: ModelSpec, hardware: Hardware, policy: Policy) -> Plan:
    """Return the plan for a model on a machine, whether it fits or not (``Plan.verdict``).

    Raises UsageError for wishes that contradict the model, the machine or each other.
    """
    memory = MemoryModel(model, (), hardware.host)

    def solved(changed: Policy) -> Solution:
        return solve(memory, hardware, changed)

    solution = solved(policy)
    overrides = _overrides(solution.placement)
    settings, placement, shape = solution.settings, solution.placement, solution.settings.shape
    return Plan(
        basis="formula",
        verdict=solution.verdict,
        model=model,
        hardware=hardware,
        n_ctx=shape.n_ctx,
        n_batch=settings.n_batch,
        n_ubatch=shape.n_ubatch,
        type_k=shape.type_k,
        type_v=shape.type_v,
        flash_attn=settings.flash_attn,
        n_gpu_layers=placement.n_gpu_layers,
        n_layer_total=model.n_layer_total,
        tensor_split=tuple(float(n) for n in placement.layers_per_device),
        tensor_overrides=overrides,
        n_seq=shape.n_seq,
        n_outputs_max=shape.n_outputs_max,
        swa_full=False,
        n_threads=settings.n_threads,
        use_mmap=policy.use_mmap is not False,
        repack=shape.repack,
        devices=solution.rows,
        speed=None,
        power=None,
        cost=None,
        reasons=explain.reasons(model, hardware, policy, solution),
        cliff=explain.cliff(
            solution, next_layer=_one_layer_more(memory, hardware, policy, solution)
        ),
        counterfactuals=tuple(explain.counterfactuals(model, hardware, policy, solution, solved)),
        llama_args=explain.llama_args(model, policy, solution, overrides),
        estimated_terms=solution.memory.estimated,
    )


def solve(memory: MemoryModel, hardware: Hardware, policy: Policy) -> Solution:
    """Choose context, devices and layers. The plan without its words."""
    _check_devices(memory.model, hardware, policy)
    n_ctx = wanted_n_ctx(memory.model, policy)
    if n_ctx is not None:
        return best_placement(memory, hardware, policy, n_ctx=n_ctx)
    return _choose_n_ctx(memory, hardware, policy)


def best_placement(
    memory: MemoryModel, hardware: Hardware, policy: Policy, *, n_ctx: int
) -> Solution:
    """Decide the number of GPU layers: the most that fit, on the fewest devices that hold them all.

    Falls back to the CPU alone where no GPU has room for one layer. A number that the user fixed is
    kept even where it does not fit: the verdict then says so.
    """
    model = memory.model
    settings = settle(model, hardware, policy, n_ctx=n_ctx)
    fixed = policy.n_gpu_layers
    wanted = model.n_layer_total if fixed is None or fixed < 0 else min(fixed, model.n_layer_total)
    best: Solution | None = None
    if wanted:
        for group in _device_groups(hardware.usable_devices, policy):
            here = memory.with_devices(group)
            whole = _place(here, hardware, policy, settings, n_gpu_layers=wanted)
            if whole.gpus_fit:
                return whole
            best = whole
    if best is not None and fixed is not None and fixed >= 0:
        return best
    if best is not None:
        here = memory.with_devices(best.devices)
        partial = _most_layers(here, hardware, policy, settings, below=wanted)
        if partial is not None:
            return partial
    return _place(memory.with_devices(()), hardware, policy, settings, n_gpu_layers=0)


def _choose_n_ctx(memory: MemoryModel, hardware: Hardware, policy: Policy) -> Solution:
    """Return the largest context that costs no GPU layer compared with a short one."""
    limit = memory.model.n_ctx_train or BASE_N_CTX
    base = best_placement(memory, hardware, policy, n_ctx=min(BASE_N_CTX, limit))
    low, high = 1, max(limit // CTX_STEP, 1)
    best = base
    while low <= high:
        middle = (low + high) // 2
        trial = best_placement(memory, hardware, policy, n_ctx=min(middle * CTX_STEP, limit))
        enough = trial.placement.n_gpu_layers >= base.placement.n_gpu_layers
        if trial.verdict == "fits" and enough:
            best, low = trial, middle + 1
        else:
            high = middle - 1
    return best


def _device_groups(devices: tuple[Device, ...], policy: Policy) -> Iterator[tuple[Device, ...]]:
    """Yield groups of GPUs to try, smallest first: one GPU that holds the model beats two.

    Within a size, faster memory first, then more free memory. The last group is all of them.
    """
    if not devices:
        return
    if policy.tensor_split is None:
        ranked = sorted(devices, key=_preference, reverse=True)[:MAX_GROUPED_DEVICES]
        kept = [device for device in devices if device in ranked]
        for size in range(1, len(devices)):
            # Equal cards make equal groups: what one could not hold, its twin cannot either.
            groups: dict[tuple[object, ...], tuple[Device, ...]] = {}
            for group in combinations(kept, size):
                groups.setdefault(tuple(map(_alike, group)), group)
            yield from sorted(
                groups.values(), key=lambda g: sorted(map(_preference, g)), reverse=True
            )
    yield devices


def _alike(device: Device) -> tuple[object, ...]:
    """What a plan can see of a device beside its name."""
    return (
        device.backend,
        device.total_bytes,
        device.free_bytes,
        device.overhead_bytes,
        device.alignment_bytes,
        device.memory_bandwidth_gb_s,
    )


def _preference(device: Device) -> tuple[float, int]:
    return (device.memory_bandwidth_gb_s or 0.0, device.free_bytes or 0)


def _most_layers(
    memory: MemoryModel, hardware: Hardware, policy: Policy, settings: Settings, *, below: int
) -> Solution | None:
    """Search the largest number of layers under ``below`` that fits the GPUs; None if not even one.

    Needs grow with every layer once some stay on the host, so halving finds it.
    """
    low, high = 1, below - 1
    best: Solution | None = None
    while low <= high:
        middle = (low + high) // 2
        trial = _place(memory, hardware, policy, settings, n_gpu_layers=middle)
        if trial.gpus_fit:
            best, low = trial, middle + 1
        else:
            high = middle - 1
    return best


def _place(
    memory: MemoryModel,
    hardware: Hardware,
    policy: Policy,
    settings: Settings,
    *,
    n_gpu_layers: int,
) -> Solution:
    experts = frozenset(range(min(policy.n_cpu_moe or 0, memory.model.n_layer)))
    placement = Placement(
        n_gpu_layers=n_gpu_layers,
        layers_per_device=(n_gpu_layers,) if len(memory.devices) == 1 else (),
        host_expert_layers=experts if memory.model.n_expert and memory.devices else frozenset(),
    )
    if len(memory.devices) > 1:
        counts = split_layers(memory, placement, policy, settings.shape)
        placement = replace(placement, layers_per_device=counts)
    breakdown = memory.breakdown(placement, settings.shape)
    return Solution(
        devices=memory.devices,
        placement=placement,
        memory=breakdown,
        settings=settings,
        rows=_rows(memory, hardware, policy, placement, breakdown),
    )


def _rows(
    memory: MemoryModel,
    hardware: Hardware,
    policy: Policy,
    placement: Placement,
    breakdown: MemoryBreakdown,
) -> tuple[DeviceMemory, ...]:
    rows = [
        DeviceMemory(
            name=device.name,
            kind="gpu",
            total_bytes=device.total_bytes,
            free_bytes=free_bytes(device, policy),
            model_bytes=terms.model_bytes,
            context_bytes=terms.context_bytes,
            compute_bytes=terms.compute_bytes,
            overhead_bytes=terms.overhead_bytes,
            headroom_bytes=headroom_bytes(device, policy),
            n_layers=count,
        )
        for device, terms, count in zip(
            memory.devices, breakdown.devices, placement.layers_per_device, strict=True
        )
    ]
    host, terms = hardware.host, breakdown.host
    free = host.available_bytes
    if policy.ram_budget_bytes is not None:
        free = min(free, policy.ram_budget_bytes)
    rows.append(
        DeviceMemory(
            name="host",
            kind="host",
            total_bytes=host.total_bytes,
            free_bytes=free,
            model_bytes=terms.model_bytes,
            context_bytes=terms.context_bytes,
            compute_bytes=terms.compute_bytes,
            overhead_bytes=terms.overhead_bytes,
            headroom_bytes=HOST_HEADROOM_BYTES if policy.ram_budget_bytes is None else 0,
            mapped_bytes=terms.mapped_bytes if policy.use_mmap is not False else 0,
            n_layers=memory.model.n_layer_total - placement.n_gpu_layers,
        )
    )
    return tuple(rows)


def _one_layer_more(
    memory: MemoryModel, hardware: Hardware, policy: Policy, solution: Solution
) -> Solution | None:
    """Return the same devices with the next layer added: what it lacks is the cliff."""
    n_gpu_layers = solution.placement.n_gpu_layers + 1
    if not solution.devices or n_gpu_layers > memory.model.n_layer_total:
        return None
    here = memory.with_devices(solution.devices)
    return _place(here, hardware, policy, solution.settings, n_gpu_layers=n_gpu_layers)


def _overrides(placement: Placement) -> tuple[TensorOverride, ...]:
    layers = sorted(placement.host_expert_layers)
    if not layers:
        return ()
    numbers = "|".join(str(i) for i in layers)
    return (TensorOverride(pattern=rf"blk\.({numbers})\.{EXPERT_PATTERN}", buffer_type="CPU"),)


def _check_devices(model: ModelSpec, hardware: Hardware, policy: Policy) -> None:
    n_devices = len(hardware.usable_devices)
    if policy.n_gpu_layers and not n_devices:
        raise UsageError(
            f"{policy.n_gpu_layers} GPU layers were asked for, and llama.cpp has no GPU here.",
            hint="Leave out --n-gpu-layers, or see `localllm doctor` for what is missing.",
        )
    split = policy.tensor_split
    if split is not None and (len(split) != n_devices or min(split) < 0 or sum(split) <= 0):
        raise UsageError(
            f"--tensor-split needs one share per GPU ({n_devices} here), none negative.",
            hint="For two equal cards: --tensor-split 1,1.",
        )
    if policy.n_cpu_moe and not model.n_expert:
        raise UsageError(
            f"{model.name} has no experts, so --n-cpu-moe has nothing to keep in RAM.",
            hint="Use --n-gpu-layers for dense models.",
        )
