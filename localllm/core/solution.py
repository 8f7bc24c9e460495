"""One placement of a model, with the memory it takes: what the planner searches and explains."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.core.hardware import Device
from localllm.core.memory import MemoryBreakdown, Placement
from localllm.core.plan import DeviceMemory, Verdict
from localllm.core.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """One placement, what it takes, and whether it fits."""

    devices: tuple[Device, ...]
    placement: Placement
    memory: MemoryBreakdown
    settings: Settings
    rows: tuple[DeviceMemory, ...]
    """GPUs in use, then the host."""
    outpaces_gpus: bool = False
    """The CPU alone, because it decodes faster than the GPUs would."""

    @property
    def verdict(self) -> Verdict:
        """``fits`` when no device and not the host is short of memory."""
        short = any(row.spare_bytes is not None and row.spare_bytes < 0 for row in self.rows)
        return "does-not-fit" if short else "fits"

    @property
    def whole(self) -> bool:
        """Whether every layer lies on a GPU, experts included."""
        return self.rows[-1].n_layers == 0 and not self.placement.host_expert_layers

    @property
    def score(self) -> tuple[bool, int, int]:
        """What is compared between solutions: that it fits, then how much lies on GPUs."""
        placement = self.placement
        return (
            self.verdict == "fits",
            placement.n_gpu_layers,
            -len(placement.host_expert_layers),
        )

    @property
    def gpus_fit(self) -> bool:
        """Whether the GPUs alone have room: what decides the number of layers."""
        return all(row.spare_bytes is None or row.spare_bytes >= 0 for row in self.rows[:-1])
