"""Axes of the picture: linear or logarithmic, with ticks whose labels do not touch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from localllm.words.ticks import linear_ticks, tick_text

LOGARITHMIC_FROM = 25.0
"""Fastest over slowest: beyond it the slowest bar of a linear axis is thinner than its outline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A figure and its 80 % range."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A scale from values to horizontal positions."""

    left: float
    right: float
    least: float
    most: float
    logarithmic: bool
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Where a value is drawn."""
        if self.logarithmic:
            share = math.log(value / self.least) / math.log(self.most / self.least)
        else:
            share = value / self.most
        return self.left + min(max(share, 0.0), 1.0) * (self.right - self.left)


def axis_of(known: Sequence[Range], left: float, right: float) -> Axis:
    """Return the axis that holds some ranges: linear from zero, or logarithmic."""
    most = max(figure.high for figure in known)
    least = min(figure.low if figure.low > 0 else figure.value for figure in known)
    values = [figure.value for figure in known]
    logarithmic = max(values) / min(values) > LOGARITHMIC_FROM
    if logarithmic:
        ticks = _log_ticks(least, most)
        least, most = min(least, ticks[0]), max(most, ticks[-1])
    else:
        ticks, least = linear_ticks(most), 0.0
        most = max(most, ticks[-1])
    axis = Axis(
        left=left, right=right, least=least, most=most, logarithmic=logarithmic, ticks=ticks
    )
    return _with_fewer_ticks(axis)


def _log_ticks(least: float, most: float) -> tuple[float, ...]:
    """Decades, with 2 and 5 between them where there are few; they enclose all values."""
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(most))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    every = [n * 10.0**e for e in range(first, last + 1) for n in steps]
    low = max(i for i, tick in enumerate(every) if tick <= least * 1.0000001)
    high = next(i for i, tick in enumerate(every) if tick >= most * 0.9999999)
    return tuple(every[low : high + 1])


def _with_fewer_ticks(axis: Axis) -> Axis:
    """Leave out ticks whose labels would touch, the first always kept."""
    kept: list[float] = []
    end = -math.inf
    for tick in axis.ticks:
        half = text_width(tick_text(tick), 12) / 2
        if axis.at(tick) - half - 4 > end:
            kept.append(tick)
            end = axis.at(tick) + half
    return replace(axis, ticks=tuple(kept))


def text_width(text: str, size: int) -> float:
    """About the width of a text in a wide sans-serif font."""
    narrow = sum(character in " .,()-:;|il" for character in text)
    wide = sum(not character.isascii() and ord(character) > 0x2E7F for character in text)
    return size * (0.6 * len(text) - 0.25 * narrow + 0.45 * wide)
