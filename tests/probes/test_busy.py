"""Processor time on the real machine: ours is counted, and never more than everybody's."""

from __future__ import annotations

from localllm.probes.busy import cpu_seconds


def test_our_own_work_is_counted() -> None:
    before = cpu_seconds()
    assert before is not None
    total = sum(range(3_000_000))
    after = cpu_seconds()
    assert after is not None and total
    assert after.own_s > before.own_s
    assert after.busy_s >= before.busy_s
    assert after.t_s > before.t_s
