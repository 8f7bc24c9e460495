"""The values of the speed model: what each place does in one step, and what it adds up to.

A step is one call of ``llama_decode``: one token of decode, or one ubatch of prefill. The formulas
are in ``speed.py``; ``energy.py`` turns the same steps into watts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from localllm.core.hardware import Device, Host
from localllm.core.memory import Placement, RunShape

Bound = Literal["VRAM bandwidth", "host bandwidth", "PCIe", "compute", "launch"]
"""What the slowest place spends most of its time on. ``launch``: starting kernels and waiting."""

PlaceKind = Literal["gpu", "host"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything beside the model that a step's time depends on."""

    devices: tuple[Device, ...]
    """GPUs that hold layers, in llama.cpp's order: those of ``placement.layers_per_device``."""
    host: Host
    placement: Placement
    shape: RunShape
    n_threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one place does in one step.

    Places work one after the other, except in prompts of several batches on several GPUs.
    """

    place: str
    """The device's name, or ``host``."""
    kind: PlaceKind
    memory_bytes: int
    """Weights and KV cache that it reads from its own memory."""
    pcie_bytes: int
    """What crosses the bus for it: streamed weights, activations."""
    flops: float
    """Floating-point operations; a multiply-add is two."""
    memory_s: float
    """Time that the memory needs, at the bandwidth it really reaches."""
    compute_s: float
    """Time that the arithmetic needs."""
    pcie_s: float
    launch_s: float
    """Starting kernels, synchronising threads, crossing to the next place."""
    seconds: float
    """How long the place works; memory and arithmetic overlap, so less than the sum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a run, on all its places."""

    n_tokens: int
    depth: int
    """Tokens in the context before the step."""
    works: tuple[Work, ...]
    """GPUs in use, then the host where it computes."""
    seconds: float
    bound_by: Bound

    @property
    def tok_s(self) -> float:
        """Tokens per second."""
        return self.n_tokens / self.seconds

    @property
    def memory_bytes(self) -> int:
        """Bytes read from all memories together."""
        return sum(work.memory_bytes for work in self.works)

    @property
    def flops(self) -> float:
        """Operations of all places together."""
        return sum(work.flops for work in self.works)


def scaled(work: Work, factor: float) -> Work:
    """So many times the same work."""
    return replace(
        with_time(work, factor),
        memory_bytes=round(work.memory_bytes * factor),
        pcie_bytes=round(work.pcie_bytes * factor),
        flops=work.flops * factor,
    )


def with_time(work: Work, factor: float) -> Work:
    """The same work in so many times the time."""
    return replace(
        work,
        memory_s=work.memory_s * factor,
        compute_s=work.compute_s * factor,
        pcie_s=work.pcie_s * factor,
        launch_s=work.launch_s * factor,
        seconds=work.seconds * factor,
    )


def merged(works: Sequence[Work]) -> list[Work]:
    """Add up the works of each place, in the order of their first."""
    sums: dict[str, Work] = {}
    for work in works:
        before = sums.get(work.place)
        sums[work.place] = work if before is None else _added(before, work)
    return list(sums.values())


def _added(one: Work, other: Work) -> Work:
    return replace(
        one,
        memory_bytes=one.memory_bytes + other.memory_bytes,
        pcie_bytes=one.pcie_bytes + other.pcie_bytes,
        flops=one.flops + other.flops,
        memory_s=one.memory_s + other.memory_s,
        compute_s=one.compute_s + other.compute_s,
        pcie_s=one.pcie_s + other.pcie_s,
        launch_s=one.launch_s + other.launch_s,
        seconds=one.seconds + other.seconds,
    )


def slowed(step: Step, factors: Mapping[str, float]) -> Step:
    """Return a step with places at a share of their speed, in (0, 1], by name."""
    works = [with_time(work, 1.0 / factors.get(work.place, 1.0)) for work in step.works]
    before = sum(work.seconds for work in step.works)
    after = sum(work.seconds for work in works)
    return replace(
        step,
        works=tuple(works),
        seconds=step.seconds * (after / before if before else 1.0),
        bound_by=bound_of(works),
    )


def bound_of(works: Sequence[Work]) -> Bound:
    """Name what the slowest place spends most of its time on."""
    slowest = max(works, key=lambda work: work.seconds)
    memory: Bound = "VRAM bandwidth" if slowest.kind == "gpu" else "host bandwidth"
    parts: dict[Bound, float] = {
        memory: slowest.memory_s,
        "PCIe": slowest.pcie_s,
        "compute": slowest.compute_s,
        "launch": slowest.launch_s,
    }
    return max(parts, key=lambda name: parts[name])
