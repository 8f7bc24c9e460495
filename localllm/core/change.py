"""One change of what was asked for or of the machine, as a value that can be applied.

Small enough to be applied to other wishes than those it was found with: what a person said, and
what was chosen for them on the way, are not the same policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from localllm.core.hardware import Device, Hardware
from localllm.core.policy import Policy
from localllm.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Wishes that become others, or one more device."""

    wishes: Mapping[str, Any] = field(default_factory=dict)
    """New values by the policy's field; ``quant`` among them means another file."""
    device: Device | None = None
    """One more card like this one of the machine; None: the machine stays as it is."""

    def of(self, policy: Policy) -> Policy:
        """Return a policy with the change; the rest stays."""
        return replace(policy, **self.wishes)

    def on(self, hardware: Hardware) -> Hardware:
        """Return a machine with the change."""
        if self.device is None:
            return hardware
        return replace(hardware, devices=(*hardware.devices, another(self.device)))


def largest_card(hardware: Hardware) -> Device | None:
    """Return the card that one more would be like; None where no GPU has memory of its own."""
    cards = [device for device in hardware.usable_devices if not device.unified]
    return max(cards, key=lambda device: device.total_bytes or 0, default=None)


def with_one_more(hardware: Hardware) -> Hardware:
    """Return a machine with one more of its largest card, numbered like the others.

    It is no machine that exists: its source says so. Raises UsageError where there is no card.
    """
    twin = largest_card(hardware)
    if twin is None:
        raise UsageError(f"{hardware.name} has no GPU with memory of its own to have one more of.")
    series = twin.name.rstrip("0123456789")
    taken = {device.name for device in hardware.devices}
    name = next(f"{series}{n}" for n in count() if f"{series}{n}" not in taken)
    return replace(
        hardware,
        name=f"{hardware.name} + {twin.description}",
        source=f"{hardware.source} with one more {twin.description}",
        devices=(*hardware.devices, replace(another(twin), name=name)),
    )


def another(twin: Device, index: int = 1) -> Device:
    """Return one more card like this one, the ``index``-th, with nothing on it."""
    free = twin.free_bytes
    if twin.total_bytes is not None:
        free = twin.total_bytes - (twin.reserved_bytes or 0)
    return replace(twin, name=f"{twin.name}+{index}", free_bytes=free, uuid=None, pci_id=None)
