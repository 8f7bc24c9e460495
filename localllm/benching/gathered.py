"""What has been measured of one test so far, and what could not be measured at all."""

from __future__ import annotations

from dataclasses import dataclass, field

from localllm.benching.loaded import Running
from localllm.benching.planned import Planned
from localllm.core.bench.conditions import conditions
from localllm.core.bench.cpu_use import CpuUse
from localllm.core.bench.energy import BenchEnergy, Window
from localllm.core.bench.row import Beside
from localllm.core.generation import BenchSample, BenchTest
from localllm.core.metered.readings import Health, Unmeasured
from localllm.core.plan import Plan
from localllm.errors import LocalLLMError


@dataclass(slots=True, kw_only=True)
class Gathered:
    """One test of one configuration, as far as it has come."""

    planned: Planned
    test: BenchTest
    started: str = ""
    """RFC 3339; empty before."""
    running: Running | None = None
    """The model that it ran on last."""
    samples: list[BenchSample] = field(default_factory=list)
    looks: list[Health] = field(default_factory=list)
    cpu: CpuUse | None = None
    """What others did with the processors, in the last pass."""
    windows: list[Window] = field(default_factory=list)
    peak_rss_bytes: int | None = None
    unmeasured: Unmeasured | None = None
    """Why there is no energy of a part of it, and so none at all."""
    per_window: int | None = None
    """Repetitions in a window, of a steady run."""
    kept: bool = False

    @property
    def beside(self) -> Beside:
        """Energy and conditions."""
        energy: BenchEnergy | Unmeasured
        if self.unmeasured is not None or not self.windows:
            energy = self.unmeasured or Unmeasured(reason="the test was interrupted")
        else:
            energy = BenchEnergy(windows=tuple(self.windows))
        return Beside(
            energy=energy,
            conditions=conditions(self.looks, cpu=self.cpu, on_cpu=on_cpu(self.planned.plan)),
            peak_rss_bytes=self.peak_rss_bytes,
            per_window=self.per_window,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A configuration without rows, and why."""

    label: str
    error: LocalLLMError

    @property
    def text(self) -> str:
        """One sentence."""
        return f"{self.label}: {self.error.message}" if self.label else self.error.message


def on_cpu(plan: Plan) -> bool:
    """Whether the processors compute layers or experts."""
    return plan.n_gpu_layers < plan.n_layer_total or bool(plan.tensor_overrides)
