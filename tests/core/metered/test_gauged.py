"""A machine at one moment: how busy it is."""

from __future__ import annotations

import pytest

from localllm.core.bench.cpu_use import CpuSeconds
from localllm.core.metered.gauged import cpu_load


@pytest.mark.parametrize("after", [None, CpuSeconds(t_s=5.0, busy_s=1.0, own_s=1.0)])
def test_no_load_is_told_of_no_time(after: CpuSeconds | None) -> None:
    assert cpu_load(CpuSeconds(t_s=5.0, busy_s=0.0, own_s=0.0), after, of=4) is None


def test_load_is_in_processors() -> None:
    before = CpuSeconds(t_s=10.0, busy_s=100.0, own_s=1.0)
    after = CpuSeconds(t_s=12.0, busy_s=103.0, own_s=2.0)
    load = cpu_load(before, after, of=4)
    assert load is not None
    assert (load.busy, load.own, load.share) == (1.5, 0.5, 0.375)
