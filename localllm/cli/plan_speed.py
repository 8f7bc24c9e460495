"""The arithmetic behind a plan's speed (``--explain``): bytes, operations and time by place."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from localllm.core import rates
from localllm.core.plan import Plan
from localllm.core.steps import Step, Work
from localllm.core.text import printable


def time_table(plan: Plan) -> Table | None:
    """Milliseconds of one decoded token and of the prompt, by place.

    Memory and arithmetic overlap, so that a row is together less than its sum.
    """
    speed = plan.speed
    if speed is None or speed.decode is None:
        return None
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(Text("ms", style="dim"))
    for name in ("memory", "arithmetic", "bus", "launch", "= together"):
        table.add_column(name, justify="right")
    steps = [("one token", speed.decode)]
    if speed.prefill is not None:
        steps.append((f"prompt of {speed.n_prompt:,}", speed.prefill))
    for words, step in steps:
        for work in step.works:
            table.add_row(f"{words}, {_place(work)}", *(_ms(s) for s in _parts(work)))
    return table


def speed_lines(plan: Plan) -> Iterator[str]:
    """Yield how the decode speed comes about: traffic, intensity, and what a batch would share."""
    speed = plan.speed
    if speed is None or speed.decode is None:
        return
    decode = speed.decode
    yield (
        f"one token reads {_gb(decode.memory_bytes)} of weights and cache and takes "
        f"{decode.flops / 1e9:.3g} GFLOP: {_intensity(decode):.2g} operations per byte"
    )
    for work in decode.works:
        peak = _peak_bandwidth(plan, work)
        if peak and work.memory_bytes:
            at_peak = work.memory_bytes / peak
            yield (
                f"{_place(work)}: {_gb(work.memory_bytes)} at {peak / 1e9:,.0f} GB/s are "
                f"{_ms(at_peak)} ms; it takes {_ms(work.seconds)} ms, {at_peak / work.seconds:.0%} "
                f"of the peak bandwidth"
            )
    yield from _breakeven(plan, decode)
    if speed.prefill is not None and speed.pp_bound_by is not None:
        yield (
            f"a prompt of {speed.n_prompt:,} tokens is bound by {speed.pp_bound_by}: "
            f"{speed.prefill.flops / 1e12:.3g} TFLOP"
            + _streamed(plan, speed.prefill)
            + f" in {speed.prefill.seconds:.3g} s"
        )
    yield (
        f"ranges cover 80 % of the public measurements that were left out of the fit; "
        f"estimates, {speed.basis}"
    )


def _breakeven(plan: Plan, decode: Step) -> Iterator[str]:
    """How many operations per byte a GPU could do while it reads: from there arithmetic binds."""
    for work in decode.works:
        device = next((d for d in plan.hardware.devices if d.name == work.place), None)
        if device is None or not work.memory_bytes:
            continue
        breakeven = rates.float_rate(device) / rates.bandwidth(device)
        intensity = work.flops / work.memory_bytes
        yield (
            f"{_place(work)} could do {breakeven:,.0f} FP16 operations per byte it reads: some "
            f"{max(1, round(breakeven / max(intensity, 1e-9))):,} streams would share the reads of "
            f"the weights before its arithmetic binds"
        )
        return


def _streamed(plan: Plan, prefill: Step) -> str:
    n_bytes = sum(work.pcie_bytes for work in prefill.works)
    if not n_bytes:
        return ""
    return f", and {_gb(n_bytes)} over the bus, once per ubatch of {plan.n_ubatch:,}"


def _peak_bandwidth(plan: Plan, work: Work) -> float | None:
    if work.kind == "host":
        return rates.host_bandwidth(plan.hardware.host)
    device = next((d for d in plan.hardware.devices if d.name == work.place), None)
    return None if device is None else rates.bandwidth(device)


def _parts(work: Work) -> tuple[float, ...]:
    return work.memory_s, work.compute_s, work.pcie_s, work.launch_s, work.seconds


def _intensity(step: Step) -> float:
    return step.flops / step.memory_bytes if step.memory_bytes else 0.0


def _place(work: Work) -> str:
    return "RAM" if work.kind == "host" else printable(work.place)


def _gb(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:,.3g} GB"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.3g}"
