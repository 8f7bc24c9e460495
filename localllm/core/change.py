"""One change of what was asked for or of the machine, as a value that can be applied.

Small enough to be applied to other wishes than those it was found with: what a person said, and
what was chosen for them on the way, are not the same policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from localllm.core.hardware import Device, Hardware
from localllm.core.policy import Policy


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


def another(twin: Device, index: int = 1) -> Device:
    """Return one more card like this one, the ``index``-th, with nothing on it."""
    free = twin.free_bytes
    if twin.total_bytes is not None:
        free = twin.total_bytes - (twin.reserved_bytes or 0)
    return replace(twin, name=f"{twin.name}+{index}", free_bytes=free, uuid=None, pci_id=None)
