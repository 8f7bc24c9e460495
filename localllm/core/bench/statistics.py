"""Student's t in the standard library alone: intervals of means, and whether two means differ.

The distribution comes from the regularised incomplete beta function by its continued fraction
(NIST Digital Library of Mathematical Functions, 8.17.22), evaluated front to back with Lentz's
method.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
"""Of every interval; 1 less this is where a difference counts as significant."""

_TINY = 1e-300
_PRECISION = 1e-15
_MOST_TERMS = 10_000
_MOST_T = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Welch:
    """Two means that may have different variances, beside each other: ``b - a``."""

    difference: float
    low: float
    """95 % interval of the difference."""
    high: float
    p: float
    """How often chance alone would part equal means so far, two-sided."""
    df: float
    """Degrees of freedom (Welch-Satterthwaite)."""


def welch(a: Sequence[float], b: Sequence[float]) -> Welch | None:
    """Return Welch's t-test of two samples; None where one has fewer than two values."""
    if min(len(a), len(b)) < 2:
        return None
    difference = statistics.fmean(b) - statistics.fmean(a)
    parts = [statistics.variance(sample) / len(sample) for sample in (a, b)]
    error = math.sqrt(sum(parts))
    if error == 0:  # nothing scatters: equal means are equal, others differ for certain
        return Welch(
            difference=difference,
            low=difference,
            high=difference,
            p=0.0 if difference else 1.0,
            df=float(len(a) + len(b) - 2),
        )
    weights = [(part / error**2) ** 2 / (len(s) - 1) for part, s in zip(parts, (a, b), strict=True)]
    df = 1 / sum(weights)
    half = t_quantile(df) * error
    return Welch(
        difference=difference,
        low=difference - half,
        high=difference + half,
        p=t_p(difference / error, df),
        df=df,
    )


def interval_half(values: Sequence[float]) -> float | None:
    """Return half the 95 % t-interval of a mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    return t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def t_p(t: float, df: float) -> float:
    """Return how often Student's t is further from 0 than ``t``: ``I_x(df/2, 1/2)``.

    ``x = df / (df + t^2)`` (Abramowitz and Stegun, 26.7.1 with 26.5.27).
    """
    return incomplete_beta(df / 2, 0.5, df / (df + t * t))


def t_quantile(df: float, confidence: float = CONFIDENCE) -> float:
    """Return the t beyond which, on both sides together, ``1 - confidence`` lies; by bisection."""
    low, high = 0.0, 1.0
    while t_p(high, df) > 1 - confidence and high < _MOST_T:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_p(middle, df) > 1 - confidence else (low, middle)
    return high


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that stay honest when several tests are looked at (Holm 1979).

    The smallest times their number, the next times one less, and so on, never falling, at most 1.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = least
    return adjusted


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), for a, b > 0 and x in 0..1."""
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):  # where the fraction of the other side converges faster
        return 1.0 - incomplete_beta(b, a, 1 - x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front += a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) / (a * _fraction(a, b, x))


def _fraction(a: float, b: float, x: float) -> float:
    """``1 + d1 / (1 + d2 / (1 + ...))``, the denominator of DLMF 8.17.22."""
    value = numerator = 1.0
    denominator = 0.0
    for term in range(1, _MOST_TERMS):
        m = term // 2
        if term % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        denominator = 1 / _not_zero(1 + d * denominator)
        numerator = _not_zero(1 + d / numerator)
        value *= numerator * denominator
        if abs(numerator * denominator - 1) < _PRECISION:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
