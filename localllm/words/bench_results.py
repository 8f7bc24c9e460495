"""Finished bench tests as a table's cells, the estimate beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from localllm.core.bench.compare import row_label
from localllm.core.bench.row import Row
from localllm.core.reconcile import Comparison, Reconciled, percent, predicted_text, with_error
from localllm.core.text import printable
from localllm.units import format_rate
from localllm.words.bench import all_lines, memory_lines, mode_lines, speed_text

HEAD = ("test", "t/s", "est. t/s", "off", "J/token")
"""Over ``result_cells``."""

UNKNOWN = "—"
OUTSIDE = " !"
"""Behind a difference from the estimate that is larger than its range."""


def result_cells(row: Row, *, ranges: bool = True) -> tuple[str, ...]:
    """Return a test's cells; what is not known is a dash, and ``result_lines`` says why.

    ``ranges``: whether an estimate has its range with it.
    """
    speed = Reconciled(
        unit="tok/s",
        predicted=row["predicted_ts"] if row["kind"] == "test" else None,
        low=row["predicted_ts_low"],
        high=row["predicted_ts_high"],
        measured=row["avg_ts"],
    )
    off, outside = speed.off, OUTSIDE if speed.within_range is False else ""
    shown = speed if ranges else replace(speed, low=None, high=None)
    return (
        printable(row_label(row)),
        speed_text(row) if len(row["samples_ts"]) > 1 else f"{row['avg_ts']:.2f}",
        UNKNOWN if speed.predicted is None else predicted_text(shown, unit=False),
        UNKNOWN if off is None else f"{percent(off)}{outside}",
        _joules(row),
    )


def result_lines(rows: Sequence[Row], memory: Sequence[Comparison]) -> Iterator[str]:
    """Yield what the table has no room for: errors and sources of joules, conditions, memory."""
    if not rows:
        return
    yield from mode_lines(rows[0])
    if any(OUTSIDE in result_cells(row)[3] for row in rows):
        yield "!: outside the range of the estimate"
    yield from map(printable, all_lines(rows, (), in_table=True))
    yield from map(printable, _meter_lines(rows))
    yield from map(printable, memory_lines(memory, ""))


def _meter_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield whose joules they are, and how far the sensor may be off, with the watts."""
    meters: dict[tuple[str, str, float], list[float]] = {}
    for row in rows:
        if row["power_w"] is not None:
            key = row["power_source"], row["power_scope"], row["j_per_token_gain"]
            meters.setdefault(key, []).append(row["power_w"])
    for (source, scope, gain), watts in meters.items():
        ends = dict.fromkeys(format_rate(watt) for watt in (min(watts), max(watts)))
        drawn = " to ".join(ends)
        yield (f"J/token: {source}, {scope}, {drawn} W; the sensor is good to ± {100 * gain:.2g} %")


def _joules(row: Row) -> str:
    if row["j_per_token"] is None:
        return UNKNOWN
    return with_error(row["j_per_token"], row["j_per_token_stat"], rough=bool(row["power_rough"]))
