"""What a fit is worth: errors by class, the ranges they give, and how often the ranges hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from _fit.fitting import Row

LOW, HIGH = 0.1, 0.9
"""The stated range leaves a tenth of the rows out on either side."""
WIDER = 1.05
"""Ranges are stated a little wider than the quantiles of few rows say."""
FEWEST = 12
"""A class with fewer rows takes the quantiles of all rows together where those are wider."""

FEWEST_SOURCES = 3.0
"""The same for a class that one or two sources make up: the next one is another machine."""

Judged = Sequence[tuple[Row, float]]
"""Rows, each with the logarithm of predicted over measured."""


def regime_of(row: Row) -> str:
    """Return ``decode`` or ``prefill``."""
    return "decode" if row.fact.phase == "tg" else "prefill"


def in_range(row: Row, error: float, ranges: Mapping[str, tuple[float, float]]) -> bool:
    """Whether the measured rate lies in the range that is stated for its class."""
    low, high = ranges[f"{regime_of(row)} {row.fact.kind}"]
    return low <= math.exp(-error) <= high


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Relative errors of some rows."""

    n: int
    median: float
    """Of the absolute error."""
    p90: float
    bias: float
    """Median of predicted over measured, less 1."""


def accuracy(errors: Sequence[float]) -> Accuracy:
    """Sum up errors given as logarithms of predicted over measured."""
    absolute = sorted(abs(math.exp(e) - 1.0) for e in errors)
    return Accuracy(
        n=len(errors),
        median=quantile(absolute, 0.5),
        p90=quantile(absolute, 0.9),
        bias=math.exp(quantile(sorted(errors), 0.5)) - 1.0,
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of sorted values, by linear interpolation."""
    if not ordered:
        return math.nan
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def spread(
    errors: Sequence[float], everybody: Sequence[float], *, n_sources: float = math.inf
) -> tuple[float, float]:
    """Return low and high factors on an estimate that cover 80 % of measured values.

    ``n_sources``: how many sources the errors come from, see ``sources``.
    """

    def factors(some: Sequence[float]) -> tuple[float, float]:
        ratios = sorted(-e for e in some)  # measured over predicted
        return quantile(ratios, LOW), quantile(ratios, HIGH)

    low, high = factors(errors) if errors else factors(everybody)
    if len(errors) < FEWEST or n_sources < FEWEST_SOURCES:
        wide_low, wide_high = factors(everybody)
        low, high = min(low, wide_low), max(high, wide_high)
    return min(math.exp(low * WIDER), 0.97), max(math.exp(high * WIDER), 1.03)


def sources(rows: Iterable[Row]) -> float:
    """Return how many equally large sources some rows are worth: ``(sum n)^2 / sum n^2``."""
    sizes = Counter(row.fact.group for row in rows).values()
    return sum(sizes) ** 2 / sum(n * n for n in sizes) if sizes else 0.0


def spreads(judged: Judged, kinds: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Return the ranges by ``phase kind``."""
    found = {}
    for phase, regime in (("tg", "decode"), ("pp", "prefill")):
        everybody = [e for row, e in judged if row.fact.phase == phase]
        for kind in kinds:
            errors = [e for row, e in judged if row.fact.phase == phase and row.fact.kind == kind]
            n_sources = sources(
                row for row, _ in judged if row.fact.phase == phase and row.fact.kind == kind
            )
            found[f"{regime} {kind}"] = spread(errors, everybody, n_sources=n_sources)
    return found


def coverage(judged: Judged, kinds: Sequence[str]) -> list[tuple[Row, bool]]:
    """Return for each row whether it lies in the range that the other sources' errors give."""
    inside = []
    for group in sorted({row.fact.group for row, _ in judged}):
        others = [(row, e) for row, e in judged if row.fact.group != group]
        ranges = spreads(others, kinds)
        for row, error in judged:
            if row.fact.group == group:
                inside.append((row, in_range(row, error, ranges)))
    return inside


def table(
    judged: Judged, by: Callable[[Row], str], *, covered: Sequence[tuple[Row, bool]] = ()
) -> str:
    """Return errors by some class as text, the largest class first."""
    classes: dict[str, list[float]] = {}
    held: dict[str, list[bool]] = {}
    for row, error in judged:
        classes.setdefault(by(row), []).append(error)
    for row, inside in covered:
        held.setdefault(by(row), []).append(inside)
    lines = [f"{'':<32}{'rows':>6}{'median':>9}{'90 %':>9}{'bias':>9}{'in range':>10}"]
    for name, errors in sorted(classes.items()):
        a = accuracy(errors)
        share = f"{sum(held[name]) / len(held[name]):.0%}" if name in held else "-"
        lines.append(f"{name:<32}{a.n:>6}{a.median:>9.1%}{a.p90:>9.1%}{a.bias:>+9.1%}{share:>10}")
    return "\n".join(lines)
