"""A picture of a run: tokens per second against depth, and watts over time.

Prompt and generation have a panel each, since they differ by a factor of hundreds; a bar through a
point is the deviation between repetitions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from localllm.cli.plot_axis import Axis, text_width
from localllm.cli.svg import STYLE, safe, text_at, wrapped
from localllm.core.bench.panels import Panel, Point, Series, panels
from localllm.core.bench.row import Row
from localllm.units import format_rate
from localllm.words.ticks import linear_ticks, tick_text

_WIDTH, _MARGIN = 1000, 20
_LEFT, _RIGHT = 84, 724
"""Of the axes; names of the series stand right of them."""
_PANEL = 200
_ABOVE, _BELOW = 44, 52
_LINE = 16

_COLOURS = (
    ("#2f81d8", "#3f8fe0"),
    ("#2a9d6f", "#2ea878"),
    ("#c2571a", "#e5813f"),
    ("#8250df", "#a371f7"),
    ("#b42367", "#e0619a"),
    ("#5b6570", "#9da7b3"),
)
"""Of one series after the other, on light and on dark."""


def bench_picture(rows: Sequence[Row], watts: Sequence[tuple[float, float]]) -> str:
    """Return a run as an SVG document; ``watts`` are moments and watts, and may be none."""
    first = rows[0]
    lines = [
        " | ".join(text for text in (first["cpu_info"], first["gpu_info"]) if text),
        f"llama.cpp {first['build_commit']}, {first['test_time']}"
        + (" | quick run, not to be compared" if first["quick"] else ""),
    ]
    unknown = dict.fromkeys(row["power_unknown"] for row in rows if row["power_unknown"])
    if not watts and unknown:
        lines.append(f"power: not measured ({', '.join(unknown)})")
    return _svg(str(first["model_type"]), lines, tuple(panels(rows, watts)))


def _svg(title: str, subtitles: Sequence[str], panels: Sequence[Panel]) -> str:
    heads = wrapped(title, 18, _WIDTH - 2 * _MARGIN)
    under = [line for text in subtitles for line in wrapped(text, 12, _WIDTH - 2 * _MARGIN)]
    top = 20 + 24 * len(heads) + (_LINE + 2) * len(under)
    heights = [max(_ABOVE + _PANEL + _BELOW, _legend_height(panel)) for panel in panels]
    total = top + sum(heights) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{total}" '
        f'viewBox="0 0 {_WIDTH} {total}" role="img" aria-labelledby="t d">',
        f'<title id="t">{safe(title)}</title>',
        f'<desc id="d">{safe(_in_words(panels))}</desc>',
        f"<style>{STYLE}{_colours()}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{total}" rx="6"/>',
    ]
    parts += [text_at(_MARGIN, 36 + 24 * i, line, css="title") for i, line in enumerate(heads)]
    parts += [
        text_at(_MARGIN, 33 + 24 * len(heads) + (_LINE + 2) * i, line, css="dim")
        for i, line in enumerate(under)
    ]
    y = float(top)
    for panel, height in zip(panels, heights, strict=True):
        parts += _drawn(panel, y + _ABOVE)
        y += height
    return "\n".join([*parts, "</svg>"]) + "\n"


def _drawn(panel: Panel, top: float) -> Iterator[str]:
    bottom = top + _PANEL
    points = [point for series in panel.series for point in series.points]
    across, up = _x_axis(points), _y_axis(points, top, bottom)
    yield text_at(_MARGIN, top - 18, panel.heading, css="head")
    for tick in up.ticks:
        y = up.at(tick)
        css = "grid" if tick else "axis"
        yield f'<path class="{css}" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>'
        yield text_at(_LEFT - 8, y + 4, tick_text(tick), css="dim", anchor="end")
    for tick in across.ticks:
        yield text_at(across.at(tick), bottom + 18, tick_text(tick), css="dim", anchor="middle")
    yield text_at((_LEFT + _RIGHT) / 2, bottom + 36, panel.x_words, css="dim", anchor="middle")
    legend_y = top + 4
    for number, series in enumerate(panel.series):
        yield from _curve(series, number, across, up, dots=panel.dots)
        css = f"s{number % len(_COLOURS)}"
        yield f'<path class="{css}" stroke-width="3" d="M{_RIGHT + 14} {legend_y - 4:.1f}h16"/>'
        for line in wrapped(series.name, 13, _WIDTH - _MARGIN - _RIGHT - 36):
            yield text_at(_RIGHT + 36, legend_y, line, css="")
            legend_y += _LINE
        legend_y += 4


def _curve(series: Series, number: int, across: Axis, up: Axis, *, dots: bool) -> Iterator[str]:
    css = f"s{number % len(_COLOURS)}"
    placed = [(across.at(point.x), up.at(point.y)) for point in series.points]
    if len(placed) > 1:
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
        yield f'<path class="{css}" fill="none" stroke-width="1.5" d="M{path}"/>'
    if not dots:
        return
    for point, (x, y) in zip(series.points, placed, strict=True):
        low = up.at(max(point.y - point.deviation, 0.0))
        high = up.at(point.y + point.deviation)
        ends = "".join(f"M{x - 5:.1f} {end:.1f}h10" for end in (low, high))
        yield (
            f'<path class="{css} bar" fill="none" stroke-width="1.5" '
            f'd="M{x:.1f} {low:.1f}V{high:.1f}{ends}"/>'
        )
        yield f'<circle class="{css} dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'


def _x_axis(points: Sequence[Point]) -> Axis:
    """From 0; the ticks are the values themselves where these are few and do not touch."""
    most = max((point.x for point in points), default=0.0) or 1.0
    own = tuple(sorted({point.x for point in points}))
    axis = Axis(left=_LEFT, right=_RIGHT, least=0.0, most=most, logarithmic=False, ticks=own)
    places = [(axis.at(tick), text_width(tick_text(tick), 12) / 2 + 4) for tick in own]
    fits = all(b - a >= half + other for (a, half), (b, other) in itertools.pairwise(places))
    if len(own) <= 12 and fits:
        return axis
    ticks = tuple(tick for tick in linear_ticks(most) if tick <= most)
    return Axis(left=_LEFT, right=_RIGHT, least=0.0, most=most, logarithmic=False, ticks=ticks)


def _y_axis(points: Sequence[Point], top: float, bottom: float) -> Axis:
    most = max((point.y + point.deviation for point in points), default=0.0) or 1.0
    ticks = linear_ticks(most)
    return Axis(
        left=bottom, right=top, least=0.0, most=max(most, ticks[-1]), logarithmic=False, ticks=ticks
    )


def _legend_height(panel: Panel) -> int:
    width = _WIDTH - _MARGIN - _RIGHT - 36
    lines = sum(len(wrapped(series.name, 13, width)) for series in panel.series)
    return _ABOVE + lines * _LINE + 4 * len(panel.series) + 20


def _colours() -> str:
    light = "".join(_colour(i, pair[0]) for i, pair in enumerate(_COLOURS))
    dark = "".join(_colour(i, pair[1]) for i, pair in enumerate(_COLOURS))
    return f"{light}\n@media (prefers-color-scheme:dark){{{dark}}}\n"


def _colour(number: int, colour: str) -> str:
    return f".s{number}{{stroke:{colour}}}.s{number}.dot{{fill:{colour}}}"


def _in_words(panels: Sequence[Panel]) -> str:
    """The picture for whom reads it aloud."""
    return " ".join(
        f"{panel.heading}, {series.name}: "
        + ", ".join(
            f"{format_rate(point.y)} at {format_rate(point.x)}" for point in series.points[:20]
        )
        + "."
        for panel in panels
        for series in panel.series
    )
