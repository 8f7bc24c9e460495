"""What is remembered of memory that ran out: so much more is left free there, for a while.

A shortfall is a fact about one model on one machine: the formulas and llama.cpp's allocator said
that it fits, and it did not. What follows for the next plan is decided here; the file that keeps
it is ``records/shortfalls.py``'s.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace

from localllm.core.fingerprint import machine_key, model_key
from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.plan import DeviceMemory, Plan
from localllm.core.policy import Policy
from localllm.units import GiB, format_bytes

KEPT_DAYS = 30
"""Drivers, desktops and other programs change: after that the full plan is tried once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """That memory ran out under a plan, and what made the next one hold."""

    time: str
    """ISO 8601, with the offset from UTC."""
    machine: str
    """``fingerprint.machine_key``."""
    model: str
    """``fingerprint.model_key``."""
    device: str
    """llama.cpp's name of the GPU, or ``host``."""
    description: str
    """The product, so that another card under the same name is not blamed."""
    more_headroom_bytes: int = 0
    """Left free on the GPU beyond what the policy says."""
    plain_weights: bool = False
    """RAM: the weights were not rearranged for the CPU."""
    mapped: bool = False
    """RAM: the file was mapped, not read."""

    @property
    def day(self) -> str:
        """The date alone."""
        return self.time[:10]


def shortfalls_between(
    plan: Plan, before: Policy, after: Policy, *, time: str
) -> tuple[Shortfall, ...]:
    """Return what is to be remembered where a plan failed with one policy and held with another.

    Nothing of a GPU that the plan left far from full: something else took its memory for a moment,
    and a month of small plans would be the wrong answer.
    """
    known = dict(before.headroom_by_device)
    roomy = {row.name for row in plan.devices if _left_room(row)}
    devices = {device.name: device.description for device in plan.hardware.devices}
    shortfall = functools.partial(
        Shortfall, time=time, machine=machine_key(plan.hardware), model=model_key(plan.model)
    )
    found = [
        shortfall(device=name, description=devices.get(name, ""), more_headroom_bytes=more)
        for name, more in after.headroom_by_device
        if more > known.get(name, 0) and name not in roomy
    ]
    plain = after.repack is False and before.repack is not False
    mapped = after.use_mmap is True and before.use_mmap is not True
    if plain or mapped:
        cpu = plan.hardware.host.cpu
        found.append(shortfall(device="host", description=cpu, plain_weights=plain, mapped=mapped))
    return tuple(found)


def concerns(each: Shortfall, model: ModelSpec, hardware: Hardware) -> bool:
    """Whether a shortfall was this model's, on this machine, on a device that is still there."""
    devices = {device.name: device.description for device in hardware.usable_devices}
    devices["host"] = hardware.host.cpu
    return (
        each.machine == machine_key(hardware)
        and each.model == model_key(model)
        and devices.get(each.device) == each.description
    )


def with_shortfalls(policy: Policy, known: Iterable[Shortfall]) -> tuple[Policy, tuple[str, ...]]:
    """Return a policy that leaves free what was missing, and why, as reasons for its plan.

    What the person fixed wins: layers that they asked for are tried again as they asked.
    """
    more = dict(policy.headroom_by_device)
    changes: dict[str, bool] = {}
    reasons: dict[tuple[str, str], str] = {}
    layers_fixed = policy.n_gpu_layers is not None and policy.n_gpu_layers >= 0
    for each in known:
        since = f"a load ran out of memory there on {each.day}"
        if each.more_headroom_bytes > more.get(each.device, 0) and not layers_fixed:
            more[each.device] = each.more_headroom_bytes
            reasons[each.device, "headroom"] = (
                f"{format_bytes(each.more_headroom_bytes)} more is left free on {each.device}: "
                f"{since}."
            )
        if each.plain_weights and policy.repack is None:
            changes["repack"] = False
            reasons["host", "repack"] = (
                f"The weights stay as they are in the file: rearranged for this CPU, RAM ran out "
                f"on {each.day} (--repack tries it again)."
            )
        if each.mapped and policy.use_mmap is None:
            changes["use_mmap"] = True
            reasons["host", "mmap"] = (
                f"The file is mapped: read into memory, RAM ran out on {each.day} "
                f"(--no-mmap tries it again)."
            )
    policy = replace(
        policy,
        headroom_by_device=tuple(sorted(more.items())),
        **changes,  # type: ignore[arg-type]  # two of its own fields
    )
    return policy, tuple(reasons.values())


def is_disproved(each: Shortfall, plan: Plan, policy: Policy) -> bool:
    """Whether a plan that held, made with a policy, used what the shortfall would leave free."""
    if not concerns(each, plan.model, plan.hardware):
        return False
    row = next((row for row in plan.devices if row.name == each.device), None)
    if row is None:
        return False
    if each.device == "host":
        rearranged = plan.repack and row.model_bytes > row.mapped_bytes
        return (each.plain_weights and rearranged) or (each.mapped and not plan.use_mmap)
    beyond = each.more_headroom_bytes - dict(policy.headroom_by_device).get(each.device, 0)
    return beyond > 0 and row.spare_bytes is not None and row.spare_bytes < beyond


def _left_room(row: DeviceMemory) -> bool:
    """Whether more was spare than any formula or driver is wrong by."""
    return row.spare_bytes is not None and row.spare_bytes > max(GiB, row.needed_bytes // 4)
