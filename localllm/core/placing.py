"""One placement put to the memory model: how layers divide over the cards, and the rows it makes.

``planner.py`` decides how many layers and whose experts; this file works out what that means on
these devices and says whether it fits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from localllm.core.hardware import Device, Hardware
from localllm.core.host_ram import left_in_place, mapped_span_bytes
from localllm.core.memory import MemoryBreakdown, MemorySource, Placement
from localllm.core.model import ModelSpec
from localllm.core.plan import DeviceMemory, TensorOverride
from localllm.core.policy import Policy
from localllm.core.settings import Settings, headroom_bytes
from localllm.core.solution import Solution
from localllm.core.split import free_bytes, split_layers
from localllm.core.traits import device_traits
from localllm.core.weights import EXPERT_PATTERN
from localllm.units import MiB

HOST_HEADROOM_BYTES = 256 * MiB
"""RAM left to the rest of the machine beyond what the kernel already calls available."""

_MAX_RESPLITS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A model with a source of memory, a machine, and what the user asked for."""

    memory: MemorySource
    hardware: Hardware
    policy: Policy
    trusting: bool = False
    """Spare the last questions: the formulas are believed about the next placement where the engine
    agrees with them on one to the byte, and themselves where a close guess fits."""

    @property
    def model(self) -> ModelSpec:
        """The model to place."""
        return self.memory.model

    def on(self, devices: tuple[Device, ...]) -> Problem:
        """The same with some of the devices."""
        return replace(self, memory=self.memory.with_devices(devices))


def place(
    problem: Problem, settings: Settings, *, n_gpu_layers: int, n_host_experts: int = 0
) -> Solution:
    """Return what a number of GPU layers takes on the problem's devices.

    The first ``n_host_experts`` of the offloaded blocks keep their routed experts in RAM; where the
    user fixed ``n_cpu_moe`` that counts from the model's first block, as llama.cpp's flag does.
    """
    memory = problem.memory
    placement = Placement(
        n_gpu_layers=n_gpu_layers,
        layers_per_device=(n_gpu_layers,) if len(memory.devices) == 1 else (),
        host_expert_layers=_host_expert_layers(problem, n_gpu_layers, n_host_experts),
    )
    if len(memory.devices) > 1:
        return _split_over_devices(problem, settings, placement)
    return _solution(problem, settings, placement)


def tensor_overrides(placement: Placement) -> tuple[TensorOverride, ...]:
    """Return the overrides that keep a placement's host experts in RAM."""
    layers = sorted(placement.host_expert_layers)
    if not layers:
        return ()
    numbers = "|".join(str(i) for i in layers)
    return (TensorOverride(pattern=rf"blk\.({numbers})\.{EXPERT_PATTERN}", buffer_type="CPU"),)


def _host_expert_layers(problem: Problem, n_gpu_layers: int, n_host_experts: int) -> frozenset[int]:
    model = problem.model
    if not model.n_expert or not problem.memory.devices or not n_gpu_layers:
        return frozenset()
    if problem.policy.n_cpu_moe is not None:
        return frozenset(range(min(problem.policy.n_cpu_moe, model.n_layer)))
    first = model.n_layer_total - n_gpu_layers
    return frozenset(range(first, min(first + n_host_experts, model.n_layer)))


def _split_over_devices(problem: Problem, settings: Settings, placement: Placement) -> Solution:
    """Divide the layers by the formulas; where the engine finds a card overfull, divide again.

    What the engine needs beyond the formulas is taken from that card's budget.
    """
    formulas = problem.memory.formulas
    corrections = (0,) * len(problem.memory.devices)
    for _ in range(_MAX_RESPLITS):
        counts = split_layers(formulas, placement, problem.policy, settings.shape, corrections)
        solution = _solution(problem, settings, replace(placement, layers_per_device=counts))
        if solution.gpus_fit or solution.memory.basis == "formula":
            break
        guess = formulas.breakdown(solution.placement, settings.shape).devices
        needed = [terms.needed_bytes for terms in solution.memory.devices]
        worse = tuple(
            max(before, real - formula.needed_bytes)
            for before, real, formula in zip(corrections, needed, guess, strict=True)
        )
        if worse == corrections:
            break
        corrections = worse
    return solution


def _solution(problem: Problem, settings: Settings, placement: Placement) -> Solution:
    breakdown = problem.memory.breakdown(placement, settings.shape)
    return Solution(
        devices=problem.memory.devices,
        placement=placement,
        memory=breakdown,
        settings=settings,
        rows=_rows(problem, settings, placement, breakdown),
    )


def with_breakdown(problem: Problem, solution: Solution, breakdown: MemoryBreakdown) -> Solution:
    """Return a solution with another source's figures for the same placement."""
    here = problem.on(solution.devices)
    rows = _rows(here, solution.settings, solution.placement, breakdown)
    return replace(solution, memory=breakdown, rows=rows)


def with_cached_pages(problem: Problem, solution: Solution) -> tuple[DeviceMemory, ...]:
    """Return the rows of a final solution, the host's with the pages that a mapped file keeps."""
    *gpus, host = solution.rows
    if not solution.settings.use_mmap:
        return solution.rows
    model, placement = problem.model, solution.placement
    pinned = any(device_traits(device).host_buffer for device in solution.devices)
    span = mapped_span_bytes(
        model,
        problem.hardware.host,
        repack=solution.settings.shape.repack and not pinned,
        in_place=left_in_place(model, placement),
    )
    return (*gpus, replace(host, cached_bytes=max(span - host.mapped_bytes, 0)))


def _rows(
    problem: Problem, settings: Settings, placement: Placement, breakdown: MemoryBreakdown
) -> tuple[DeviceMemory, ...]:
    policy, devices = problem.policy, problem.memory.devices
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
            devices, breakdown.devices, placement.layers_per_device, strict=True
        )
    ]
    shared = sum(row.needed_bytes for row, d in zip(rows, devices, strict=True) if d.unified)
    host, terms = problem.hardware.host, breakdown.host
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
            mapped_bytes=terms.mapped_bytes if settings.use_mmap else 0,
            shared_bytes=shared,
            n_layers=problem.model.n_layer_total - placement.n_gpu_layers,
        )
    )
    return tuple(rows)
