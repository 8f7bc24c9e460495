"""Memory that is gone between plan and load: whether the plan still fits what is free now."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.core.hardware import Hardware
from localllm.core.plan import DeviceMemory, Plan
from localllm.core.policy import Policy
from localllm.core.split import free_bytes
from localllm.units import format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Memory of one place that something else took."""

    place: str
    """Name of the plan's row."""
    n_bytes: int
    holders: str | None = None
    """Who holds it, where that can be told: ``python (pid 4242) 3.10 GiB``."""


def lost_memory(plan: Plan, now: Hardware, policy: Policy) -> tuple[Lost, ...]:
    """Return the places that no longer hold what the plan puts there; empty where all do.

    Half of what is left free on purpose may go: that is what it is for, and another plan for some
    megabytes would help nobody. Memory that came free since is left for the next plan.
    """
    lost = []
    for row in plan.devices:
        free = _free_now(row, now, policy)
        if free is None or row.free_bytes is None or free >= row.free_bytes:
            continue
        if free - row.needed_bytes - row.shared_bytes < row.headroom_bytes // 2:
            lost.append(Lost(place=row.name, n_bytes=row.free_bytes - free))
    return tuple(lost)


def lost_sentence(lost: tuple[Lost, ...]) -> str:
    """Return what is free no longer, and who holds it, as a clause without its full stop."""
    parts = []
    for each in lost:
        where = "RAM" if each.place == "host" else each.place
        by = f" (held by {each.holders})" if each.holders else ""
        parts.append(f"{where} has {format_bytes(each.n_bytes)} less free{by}")
    return f"{', '.join(parts)} than when the plan was made"


def short_of(plan: Plan) -> str:
    """Return what a plan that does not fit lacks and where: ``1.20 GiB on CUDA0``."""
    return ", ".join(
        f"{format_bytes(-row.spare_bytes)} {'in RAM' if row.kind == 'host' else f'on {row.name}'}"
        for row in plan.devices
        if row.spare_bytes is not None and row.spare_bytes < 0
    )


def _free_now(row: DeviceMemory, now: Hardware, policy: Policy) -> int | None:
    if row.kind == "host":
        free, budget = now.host.available_bytes, policy.ram_budget_bytes
        return free if budget is None else min(free, budget)
    device = next((device for device in now.devices if device.name == row.name), None)
    return None if device is None else free_bytes(device, policy)
