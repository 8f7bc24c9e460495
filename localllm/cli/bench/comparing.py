"""``localllm bench --compare``: two runs beside each other, as text and as a document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from localllm.core.bench.compare import Compared, Figure
from localllm.core.bench.read import BenchFile
from localllm.core.bench.statistics import CONFIDENCE
from localllm.core.text import printable
from localllm.units import format_rate

SCHEMA = "localllm.bench-comparison/1"

_WORDS = {
    ("t/s", "higher"): "faster",
    ("t/s", "lower"): "slower",
    ("J/token", "higher"): "takes more",
    ("J/token", "lower"): "takes less",
}


def comparison_document(a: BenchFile, b: BenchFile, compared: Compared) -> dict[str, Any]:
    """Return the comparison for scripts; ``change`` is ``b / a - 1``."""
    return {
        "schema": SCHEMA,
        "a": a.name,
        "b": b.name,
        "confidence": CONFIDENCE,
        "differences": [asdict(one) for one in compared.differences],
        "tests": [
            {
                "test": pair.label,
                "speed": _figure_document(pair.speed),
                "energy": _figure_document(pair.energy) if pair.energy else None,
            }
            for pair in compared.pairs
        ],
        "only_a": list(compared.only_a),
        "only_b": list(compared.only_b),
    }


def comparison_lines(a: BenchFile, b: BenchFile, compared: Compared) -> Iterator[str]:
    """Yield the comparison for people: what differs, a line for each figure, what has no twin."""
    yield f"A: {a.name}"
    yield f"B: {b.name}"
    yield ""
    if compared.differences:
        yield "not the same in both:"
        for one in compared.differences:
            yield printable(f"  {one.field}: {one.a} -> {one.b}")
        yield ""
    rows = [
        _cells(pair.label, figure)
        for pair in compared.pairs
        for figure in (pair.speed, pair.energy)
        if figure is not None
    ]
    yield from _table(("test", "A", "B", "change", "95 %", "p", ""), rows)
    for name, labels in (("A", compared.only_a), ("B", compared.only_b)):
        for label in labels:
            yield printable(f"only in {name}: {label}")
    yield ""
    yield (
        "p: Welch's t-test on the repetitions, corrected for the number of tests (Holm). It speaks "
        "for these two runs: another day, temperature or file cache may differ by more."
    )


def _figure_document(figure: Figure) -> dict[str, Any]:
    return asdict(figure) | {"change": figure.change}


def _cells(label: str, figure: Figure) -> tuple[str, ...]:
    span = "" if figure.low is None or figure.high is None else _span(figure.low, figure.high)
    verdict = _WORDS.get((figure.name, figure.verdict), figure.verdict)
    return (
        printable(label),
        _amount(figure.a, figure.a_deviation, figure.name),
        _amount(figure.b, figure.b_deviation, figure.name),
        f"{figure.change:+.1%}",
        span,
        _p_text(figure.p),
        verdict if figure.reason is None else printable(f"{verdict}: {figure.reason}"),
    )


def _amount(mean: float, deviation: float | None, unit: str) -> str:
    if unit == "t/s":
        return f"{mean:.2f}{'' if deviation is None else f' ± {deviation:.2f}'} t/s"
    scatter = "" if deviation is None else f" ± {format_rate(deviation, digits=2)}"
    return f"{format_rate(mean)}{scatter} J/token"


def _span(low: float, high: float) -> str:
    return f"{low:+.1%} to {high:+.1%}"


def _p_text(p: float | None) -> str:
    return "" if p is None else "<0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield a GitHub table, aligned so that it can be read as it is."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = tuple("-" * (width - 1) + (":" if 0 < i < 6 else "-") for i, width in enumerate(widths))
    for cells in (head, rule, *rows):
        padded = [
            cell.rjust(width) if 0 < i < 6 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        yield f"| {' | '.join(padded)} |"
