"""A device that does not exist, as values: what the parent sends and a child builds.

Light on purpose: the dry-run child imports this before its first answer, so nothing here may cost
milliseconds to import (a ``NamedTuple`` and not a dataclass; ``core`` only for the parent).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from localllm.core.hardware import Device


REARRANGED = "CPU_REARRANGED"
"""Name of the buffer type that stands for the CPU_REPACK of a CPU that is not this one."""


class SimulatedSpec(NamedTuple):
    """A device from a hardware profile, with the traits of its backend. Sent as a JSON array."""

    name: str
    description: str
    integrated: bool
    total_bytes: int
    free_bytes: int
    alignment_bytes: int
    row_padding: int
    """Elements that rows of quantised tensors are padded to; 1: none."""
    streams: bool
    """Operations on prompt batches pull host weights to the device."""
    host_buffer: bool
    pipelines: bool
    max_buffer_bytes: int
    """Largest single buffer; 0: no limit."""
    rules: str
    """Whose rules for operations: a key of ``backend_rules.RULES``."""


def simulated_spec(device: Device) -> SimulatedSpec:
    """Return what a child needs to stand in for a device. Unknown memory counts as none."""
    from localllm.core.traits import device_traits

    traits = device_traits(device)
    total = device.total_bytes if device.total_bytes is not None else device.free_bytes
    free = device.free_bytes if device.free_bytes is not None else total
    return SimulatedSpec(
        name=device.name,
        description=device.description,
        integrated=device.kind == "igpu",
        total_bytes=total or 0,
        free_bytes=free or 0,
        alignment_bytes=traits.alignment_bytes,
        row_padding=traits.row_padding,
        streams=traits.streams_weights,
        host_buffer=traits.host_buffer,
        pipelines=traits.pipelines,
        max_buffer_bytes=traits.max_buffer_bytes or 0,
        rules=traits.rules,
    )
