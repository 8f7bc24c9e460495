"""Whether a test on the processors was left alone."""

from __future__ import annotations

import pytest

from localllm.core.bench.conditions import conditions
from localllm.core.bench.cpu_use import CpuSeconds, CpuUse, cpu_use, more_disturbed


def look(t_s: float, busy_s: float, own_s: float, stolen_s: float | None = None) -> CpuSeconds:
    return CpuSeconds(t_s=t_s, busy_s=busy_s, own_s=own_s, stolen_s=stolen_s)


def test_others_are_everybody_but_us() -> None:
    """In 10 s 35 s of work, 20 of them ours: 1.5 CPUs by others; 2 s stolen are 0.2."""
    use = cpu_use(look(0, 100, 5, 1), look(10, 135, 25, 3))
    assert use == CpuUse(others=1.5, stolen=pytest.approx(0.2))  # type: ignore[arg-type]
    assert use.disturbance == "other processes kept 1.5 CPUs busy"


def test_of_a_moment_nothing_is_said() -> None:
    assert cpu_use(look(0, 0, 0), look(0.4, 9, 0)) is None
    assert cpu_use(None, look(9, 9, 0)) is None


def test_a_desktop_at_rest_disturbs_nobody() -> None:
    assert CpuUse(others=0.1, stolen=0.0).disturbance is None
    assert CpuUse(others=0.1, stolen=0.4).disturbance == "the hypervisor gave 0.4 CPUs to others"
    # Counters of processes that have ended are gone: less than nothing is nothing.
    assert cpu_use(look(0, 0, 0), look(10, 5, 6)) == CpuUse(others=0.0, stolen=None)


def test_only_what_runs_on_the_processors_is_disturbed_by_them() -> None:
    busy = CpuUse(others=2.0, stolen=None)
    assert conditions([], cpu=busy, on_cpu=True).invalid == ("other processes kept 2.0 CPUs busy",)
    assert conditions([], cpu=busy, on_cpu=False).invalid == ()
    assert more_disturbed(None, busy) == more_disturbed(busy, CpuUse(others=0, stolen=0)) == busy
