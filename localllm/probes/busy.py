"""Processor time of everybody, and of this process with its children."""

from __future__ import annotations

import time

from localllm.core.bench.cpu_use import CpuSeconds

_BUSY = ("user", "nice", "system", "irq", "softirq")
"""What counts as work. ``guest`` is part of ``user`` already, and waiting is no work."""


def cpu_seconds() -> CpuSeconds | None:
    """Look once; None where the system does not tell."""
    import psutil

    try:
        here = psutil.Process()
        everybody = psutil.cpu_times()
        own_s = 0.0
        for process in (here, *here.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            own_s += times.user + times.system
    except (psutil.Error, OSError, RuntimeError):
        return None
    return CpuSeconds(
        t_s=time.monotonic(),
        busy_s=sum(getattr(everybody, name, 0.0) for name in _BUSY),
        own_s=own_s,
        stolen_s=getattr(everybody, "steal", None),
    )
