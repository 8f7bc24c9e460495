"""Curves over two axes, drawn with characters: a mark at each point, lines of braille dots.

Pure: values in, lines out. What is measured and what is estimated differ in their marks, so that
nothing depends on colour.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from localllm.words.ticks import linear_ticks, tick_text

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille cell by row and column."""
_BRAILLE = 0x2800
_SPARSE = 4
"""A sparse line shows one dot of so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Points that belong together, from left to right."""

    name: str
    points: tuple[tuple[float, float], ...]
    mark: str = ""
    """A character at each point; empty: none."""
    both: str = ""
    """The character where another curve's mark lies in the same place."""
    deviations: tuple[float, ...] = ()
    """How far each point scatters; empty: nothing is said of it."""
    sparse: bool = False
    """Whether its line has gaps."""
    style: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """Characters of one style; the axes have none."""

    text: str
    style: str = ""


Line = tuple[Span, ...]


def plotted(curves: Sequence[Curve], *, width: int, height: int, x_words: str) -> tuple[Line, ...]:
    """Return ``height`` lines of ``width`` characters at most; both axes begin at 0.

    ``x_words``: what is on the horizontal axis. Nothing for curves without points, or where there
    is no room.
    """
    points = [point for curve in curves for point in curve.points]
    tall = height - 2
    if not points or tall < 2:
        return ()
    tops = [y + d for c in curves for (_, y), d in zip(c.points, _deviations(c), strict=True)]
    most = max(*tops, 1e-9)
    ticks = _upwards(most, most_steps=max(2, min(5, (tall - 1) // 2)))
    labels = [tick_text(tick) for tick in ticks]
    margin = max(map(len, labels))
    wide = width - margin - 1
    if wide < 8:
        return ()
    field = _Field(wide=wide, tall=tall, x_most=max(x for x, _ in points) or 1.0, y_most=most)
    for curve in curves:
        field.draw(curve)
    at_row = {field.row(tick): label for tick, label in zip(ticks, labels, strict=True)}
    lines = [
        (Span(f"{at_row.get(row, ''):>{margin}}{'┤' if row in at_row else '│'}"), *spans)
        for row, spans in enumerate(field.rows())
    ]
    return (*lines, *_below(field, sorted({x for x, _ in points}), margin, x_words))


def plain(lines: Iterable[Line]) -> list[str]:
    """Return lines as text, without blanks at their ends."""
    return ["".join(span.text for span in line).rstrip() for line in lines]


class _Field:
    """The cells between the axes."""

    def __init__(self, *, wide: int, tall: int, x_most: float, y_most: float) -> None:
        self.wide, self._tall = wide, tall
        self._x_most, self._y_most = x_most, y_most
        self._dots = [[0] * wide for _ in range(tall)]
        self._marks: dict[tuple[int, int], str] = {}
        self._styles: dict[tuple[int, int], str] = {}

    def column(self, x: float) -> int:
        return self._dot_x(x) // 2

    def row(self, y: float) -> int:
        return self._dot_y(y) // 4

    def draw(self, curve: Curve) -> None:
        """Draw over what is there: lines, then bars of deviation, then marks."""
        places = [(self._dot_x(x), self._dot_y(y)) for x, y in curve.points]
        for number, (x, y) in enumerate(_along(places)):
            if not curve.sparse or number % _SPARSE == 0:
                self._dot(x, y, curve.style)
        if not curve.mark:
            return
        for (at, value), deviation in zip(curve.points, _deviations(curve), strict=True):
            column, middle = self.column(at), self.row(value)
            low, high = max(value - deviation, 0.0), value + deviation
            for row in range(self.row(high), self.row(low) + 1):
                if deviation and row != middle and (row, column) not in self._marks:
                    self._mark(row, column, "│", curve.style)
        for at, value in curve.points:
            row, column = self.row(value), self.column(at)
            taken = self._marks.get((row, column), "│") != "│"
            self._mark(row, column, curve.both if taken and curve.both else curve.mark, curve.style)

    def rows(self) -> Iterator[Line]:
        """Yield the cells of each row, joined where they have one style."""
        for row in range(self._tall):
            cells = ((self._cell(row, c), self._styles.get((row, c), "")) for c in range(self.wide))
            grouped = itertools.groupby(cells, key=lambda cell: cell[1])
            yield tuple(Span("".join(text for text, _ in group), style) for style, group in grouped)

    def _cell(self, row: int, column: int) -> str:
        bits = self._dots[row][column]
        return self._marks.get((row, column)) or (chr(_BRAILLE + bits) if bits else " ")

    def _dot(self, x: int, y: int, style: str) -> None:
        row, column = y // 4, x // 2
        self._dots[row][column] |= _DOTS[y % 4][x % 2]
        self._styles[row, column] = style

    def _mark(self, row: int, column: int, mark: str, style: str) -> None:
        self._marks[row, column] = mark
        self._styles[row, column] = style

    def _dot_x(self, x: float) -> int:
        return round(_share(x, self._x_most) * (2 * self.wide - 1))

    def _dot_y(self, y: float) -> int:
        return round((1 - _share(y, self._y_most)) * (4 * self._tall - 1))


def _share(value: float, most: float) -> float:
    return min(max(value / most, 0.0), 1.0)


def _deviations(curve: Curve) -> Sequence[float]:
    return curve.deviations or (0.0,) * len(curve.points)


def _along(places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the dots of straight lines from place to place."""
    if len(places) == 1:
        yield places[0]
    for (x0, y0), (x1, y1) in itertools.pairwise(places):
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(steps + 1):
            yield round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps)


def _upwards(most: float, *, most_steps: int) -> list[float]:
    """Return ticks up to ``most``, two if possible: what is above would take room for nothing."""
    for n_steps in (most_steps, 3, 4, 5):
        ticks = [tick for tick in linear_ticks(most, n_steps) if tick <= most]
        if len(ticks) > 1:
            break
    return ticks


def _below(field: _Field, own: Sequence[float], margin: int, x_words: str) -> Iterator[Line]:
    """Yield the horizontal axis and its labels; ``own``: the points' values."""
    ticks = _ticks(field, own)
    corners = {field.column(tick) for tick in ticks}
    axis = "".join("┬" if column in corners else "─" for column in range(field.wide))
    yield (Span(f"{' ' * margin}└{axis}"),)
    text = ""
    for tick in ticks:
        label = tick_text(tick)
        start = min(
            max(margin + 1 + field.column(tick) - len(label) // 2, 0),
            margin + 1 + field.wide - len(label),
        )
        text += " " * (start - len(text)) + label
    room = margin + 1 + field.wide - len(text) - 2
    yield (Span(text + (f"  {x_words}" if len(x_words) <= room else "")),)


def _ticks(field: _Field, own: Sequence[float]) -> tuple[float, ...]:
    """Return the values themselves where these are few and do not touch, else round ones."""
    if len(own) <= 12 and _apart(field, own):
        return tuple(own)
    for n_steps in (5, 3, 2):
        ticks = tuple(tick for tick in linear_ticks(own[-1], n_steps) if tick <= own[-1])
        if _apart(field, ticks):
            break
    return ticks


def _apart(field: _Field, ticks: Sequence[float]) -> bool:
    """Whether the labels have a blank or two between them, wherever the ends push them."""
    end = -math.inf
    for tick in ticks:
        label = tick_text(tick)
        start = min(field.column(tick) - len(label) // 2, field.wide - len(label))
        if start < end + 2:
            return False
        end = start + len(label)
    return True
