"""Which of several GPUs to try together, and in what order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from localllm.core.hardware import Device
from localllm.core.policy import Policy
from localllm.core.pricing import read_s_per_byte
from localllm.core.rates import device_rates

MAX_GROUPED_DEVICES = 8
"""With more GPUs than this only the first ones by free memory are tried as smaller groups."""


def device_groups(devices: tuple[Device, ...], policy: Policy) -> Iterator[tuple[Device, ...]]:
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
                groups.setdefault(tuple(_alike(device, policy) for device in group), group)
            yield from sorted(
                groups.values(), key=lambda g: sorted(map(_preference, g)), reverse=True
            )
    yield devices


def _alike(device: Device, policy: Policy) -> tuple[object, ...]:
    """What a plan can see of a device beside its name."""
    return (
        dict(policy.headroom_by_device).get(device.name, 0),
        device.backend,
        device.total_bytes,
        device.free_bytes,
        device.overhead_bytes,
        device.alignment_bytes,
        read_speed(device),
    )


def read_speed(device: Device) -> float:
    """Bytes of weights per second that decode reads on a device; 0 where nobody knows."""
    if not device.memory_bandwidth_gb_s:
        return 0.0
    return 1.0 / read_s_per_byte(device_rates(device))


def _preference(device: Device) -> tuple[float, int]:
    return (read_speed(device), device.free_bytes or 0)
