"""Two bench runs beside each other: what differs, how far, and how surely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from localllm.core.bench.compare import Compared, Figure
from localllm.core.bench.read import BenchFile
from localllm.core.text import printable
from localllm.units import format_rate

HEAD = ("test", "A", "B", "change", "95 %", "p", "")
"""Over ``comparison_rows``; all but the first and the last are figures."""

NOT_THE_SAME = "not the same in both:"

P_VALUE = (
    "p: Welch's t-test on the repetitions, corrected for the number of tests (Holm). It speaks "
    "for these two runs: another day, temperature or file cache may differ by more."
)

_WORDS = {
    ("t/s", "higher"): "faster",
    ("t/s", "lower"): "slower",
    ("J/token", "higher"): "takes more",
    ("J/token", "lower"): "takes less",
}


def comparison_lines(a: BenchFile, b: BenchFile, compared: Compared) -> Iterator[str]:
    """Yield the comparison for people: what differs, a line for each figure, what has no twin."""
    yield f"A: {a.name}"
    yield f"B: {b.name}"
    yield ""
    if compared.differences:
        yield NOT_THE_SAME
        yield from (f"  {text}" for text in difference_lines(compared))
        yield ""
    yield from _table(HEAD, comparison_rows(compared))
    yield from only_lines(compared)
    yield ""
    yield P_VALUE


def comparison_rows(compared: Compared) -> list[tuple[str, ...]]:
    """Return a row of ``HEAD``'s cells for each figure of each test that both runs have."""
    return [
        _cells(pair.label, figure)
        for pair in compared.pairs
        for figure in (pair.speed, pair.energy)
        if figure is not None
    ]


def difference_lines(compared: Compared) -> Iterator[str]:
    """Yield each setting and circumstance that is not the same in both runs."""
    for one in compared.differences:
        yield printable(f"{one.field}: {one.a} -> {one.b}")


def only_lines(compared: Compared) -> Iterator[str]:
    """Yield the tests that only one of the runs has."""
    for name, labels in (("A", compared.only_a), ("B", compared.only_b)):
        for label in labels:
            yield printable(f"only in {name}: {label}")


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


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield a GitHub table, aligned so that it can be read as it is."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = tuple("-" * (width - 1) + (":" if 0 < i < 6 else "-") for i, width in enumerate(widths))
    for cells in (head, rule, *rows):
        padded = [
            cell.rjust(width) if 0 < i < 6 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        yield f"| {' | '.join(padded)} |"
