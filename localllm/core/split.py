"""How layers are divided over several GPUs: the ``tensor_split`` of a plan.

Shares are whole layers, so that llama.cpp's own rounding (``upper_bound`` over cumulative shares,
``src/llama-model.cpp``) reproduces them exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from localllm.core.groups import read_speed
from localllm.core.hardware import Device
from localllm.core.memory import MemorySource, Placement, RunShape
from localllm.core.policy import Policy
from localllm.core.settings import headroom_bytes
from localllm.core.shares import layers_by_shares

Budgets = tuple[int | None, ...]
"""Bytes per device that a plan may fill; None where the device's memory is not known."""


def split_layers(
    memory: MemorySource,
    placement: Placement,
    policy: Policy,
    shape: RunShape,
    corrections: Sequence[int],
) -> tuple[int, ...]:
    """Decide how many layers go to each of several GPUs.

    The user's shares when given. Else in proportion to free memory, which leaves every card the
    same room; where that overfills one, or where their memory is not equally fast, cards are filled
    in turn, the fastest first. ``corrections`` are bytes that a card is known to need beyond what
    ``memory`` says.
    """
    n = placement.n_gpu_layers
    if policy.tensor_split is not None:
        return layers_by_shares(n, policy.tensor_split)
    budgets = tuple(
        None if (budget := budget_bytes(device, policy)) is None else budget - correction
        for device, correction in zip(memory.devices, corrections, strict=True)
    )
    if _unlike(memory.devices):
        return _fill(memory, placement, budgets, shape)
    shares = [max(budget or 0, 0) for budget in budgets]
    counts = _proportional(n, shares if any(shares) else [1] * len(shares))
    if _fits_all(memory, replace(placement, layers_per_device=counts), budgets, shape):
        return counts
    return _fill(memory, placement, budgets, shape)


def _fill(
    memory: MemorySource, placement: Placement, budgets: Budgets, shape: RunShape
) -> tuple[int, ...]:
    """Fill the devices, the fastest first, to their limits; what is left lies on the last one."""
    left, counts = placement.n_gpu_layers, [0] * len(memory.devices)
    order = sorted(range(len(counts)), key=lambda i: -(read_speed(memory.devices[i])))
    for index in order:
        budget, low, high = budgets[index], 0, left
        while low < high:
            middle = (low + high + 1) // 2
            trial = list(counts)
            trial[index] = middle
            if index != order[-1]:
                trial[order[-1]] += left - middle
            rows = memory.breakdown(
                replace(placement, layers_per_device=tuple(trial)), shape
            ).devices
            if budget is None or rows[index].needed_bytes <= budget:
                low = middle
            else:
                high = middle - 1
        counts[index] = low
        left -= low
    counts[order[-1]] += left
    return tuple(counts)


def _unlike(devices: Sequence[Device]) -> bool:
    """Whether one device reads weights clearly faster than another, by what is known of them."""
    known = [speed for device in devices if (speed := read_speed(device))]
    return len(known) == len(devices) and max(known, default=0.0) > 1.1 * min(known, default=0.0)


def _fits_all(
    memory: MemorySource, placement: Placement, budgets: Budgets, shape: RunShape
) -> bool:
    rows = memory.breakdown(placement, shape).devices
    return all(b is None or r.needed_bytes <= b for r, b in zip(rows, budgets, strict=True))


def _proportional(n: int, shares: list[int] | tuple[float, ...]) -> tuple[int, ...]:
    """Divide ``n`` layers by shares, rounding at the borders, so that the parts sum to ``n``."""
    total = sum(shares)
    borders, running = [0], 0.0
    for share in shares:
        running += share
        borders.append(round(n * running / total))
    return tuple(b - a for a, b in pairwise(borders))


def free_bytes(device: Device, policy: Policy) -> int | None:
    """Memory of a device that a plan may use, headroom included: what is free, under the budget.

    Where only the total is known, as of a device that sleeps, all of it counts as free.
    """
    free = device.total_bytes if device.free_bytes is None else device.free_bytes
    if policy.vram_budget_bytes is None:
        return free
    return policy.vram_budget_bytes if free is None else min(free, policy.vram_budget_bytes)


def budget_bytes(device: Device, policy: Policy) -> int | None:
    """Memory of a device that a plan may fill: what is free less the headroom."""
    free = free_bytes(device, policy)
    return None if free is None else free - headroom_bytes(device, policy)
