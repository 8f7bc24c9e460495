"""What is said of a bench test: its speed, the estimate, joules, and what was not as it should be.

Plain lines from rows, so that a saved run reads as the run itself did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from localllm.core.bench.compare import row_label
from localllm.core.bench.row import Row
from localllm.core.reconcile import Comparison, Reconciled, sentence
from localllm.units import format_bytes, format_rate


def speed_text(row: Row) -> str:
    """Return ``115.20 ± 18.10``, tokens per second."""
    return f"{row['avg_ts']:.2f} ± {row['stddev_ts']:.2f}"


def mode_lines(row: Row) -> Iterator[str]:
    """Yield what is special about a run's method, from any of its rows."""
    if row["mode"] == "quick":
        yield "quick run: few and short tests, not to be compared"
    elif row["mode"] == "steady":
        yield "steady run: warmed up, windows of 10 s or more, pauses between"


def memory_lines(memory: Sequence[Comparison], settings: str) -> Iterator[str]:
    """Yield the plan's memory beside what llama.cpp allocated, per device."""
    for compared in memory:
        place = "RAM" if compared.device == "host" else compared.device
        yield f"{place}{f', {settings}' if settings else ''}: {sentence(compared.reconciled)}"


def all_lines(
    rows: Sequence[Row], varied: Sequence[str], *, in_table: bool = False
) -> Iterator[str]:
    """Yield everything about each test, its name first in each line; then about the run.

    ``in_table``: whether a table says the figures and the estimates of the speed. A reason for
    missing joules that is the same for all is said once.
    """
    reasons = {row["power_unknown"] for row in rows}
    for row in rows:
        name = row_label(row, varied)
        yield from (f"{name}: {text}" for text in _texts(row, in_table=in_table))
        if len(reasons) > 1 and row["power_unknown"]:
            yield f"{name}: power not measured ({row['power_unknown']})"
    yield from _run_lines(rows)
    if len(reasons) == 1 and None not in reasons:
        yield f"power: not measured ({reasons.pop()})"


def _texts(row: Row, *, in_table: bool) -> Iterator[str]:
    if row["kind"] == "chat":
        yield _chat_text(row)
    elif not in_table and row["predicted_ts"] is not None:
        yield _estimate_text(row)
    if row["power_w"] is not None:
        if not in_table:
            yield energy_text(row)
        if row["predicted_j_per_token"] is not None:
            yield sentence(
                Reconciled(
                    unit="J/token",
                    predicted=row["predicted_j_per_token"],
                    measured=row["j_per_token"],
                    rough=row["power_rough"],
                )
            )
    if row["throttled"]:
        yield f"clocks held down by {', '.join(row['throttled'])}{_clock_text(row)}"
    if row["invalid"]:
        yield f"not valid: {'; '.join(row['invalid'])}"
    if not row["complete"]:
        yield f"interrupted after {len(row['samples_ns'])} of {row['repetitions']} repetitions"


def _chat_text(row: Row) -> str:
    """The sampled rate. Never called ``tg``."""
    n = len(row["samples_ts"])
    deviation = f" ± {row['stddev_ts']:.2f}" if n > 1 else ""
    answers = f"{n} answers" if n > 1 else "one answer"
    return (
        f"{row['avg_ts']:.2f}{deviation} t/s, {answers} of at most {row['n_gen']} tokens after "
        f"a prompt of {row['n_prompt']}, default sampling, streamed"
    )


def _estimate_text(row: Row) -> str:
    return sentence(
        Reconciled(
            unit="tok/s",
            predicted=row["predicted_ts"],
            low=row["predicted_ts_low"],
            high=row["predicted_ts_high"],
            measured=row["avg_ts"],
        )
    )


def energy_text(row: Row) -> str:
    """Return ``23.1 W, 0.412 ± 0.006 J/token (stat) ± 5 % (sensor), NVML ..., GPU board``."""
    rough = "~" if row["power_rough"] else ""
    digits = 2 if row["power_rough"] else 3
    net = row["j_per_token_net"]
    parts = [
        f"{rough}{format_rate(row['power_w'], digits=digits)} W",
        f"{rough}{format_rate(row['j_per_token'], digits=digits)} ± "
        f"{format_rate(row['j_per_token_stat'], digits=1)} J/token (stat) ± "
        f"{100 * row['j_per_token_gain']:.2g} % (sensor)",
        *([] if net is None else [f"{format_rate(net, digits=digits)} J/token above idle"]),
        row["power_source"],
        row["power_scope"],
    ]
    return ", ".join(parts)


def _run_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what holds for all rows: whose estimates they are, temperature, memory."""
    bases = dict.fromkeys(r["predicted_ts_basis"] for r in rows if r["predicted_ts_basis"])
    for basis in bases:
        yield f"estimates: {basis}"
    temperatures = [r["temperature_c"] for r in rows if r["temperature_c"] is not None]
    if temperatures:
        yield f"temperature: at most {max(temperatures):.0f} °C"
    peaks = [
        f"{format_bytes(max(known))} {where}"
        for field, where in (
            ("peak_device_bytes", "on devices (everybody's)"),
            ("peak_rss_bytes", "in RAM by the engine"),
        )
        if (known := [r[field] for r in rows if r[field] is not None])
    ]
    if peaks:
        yield f"peak memory: {', '.join(peaks)}"


def _clock_text(row: Row) -> str:
    return "" if row["clock_mhz"] is None else f", mean {row['clock_mhz']:,.0f} MHz"
