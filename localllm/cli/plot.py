"""A picture of speeds by machine, as SVG: our own few shapes, for light and dark backgrounds.

What a picture looks like is decided here; what is in it comes as a ``Figure``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from localllm.benching.saving import write_whole
from localllm.cli.plot_axis import Axis, Range, axis_of, text_width
from localllm.cli.svg import STYLE, safe, text_at, wrapped
from localllm.core.text import printable
from localllm.errors import UsageError
from localllm.units import format_range, format_rate
from localllm.words.ticks import tick_text

_WIDTH = 1000
_MARGIN = 20
_GAP = 24
_LINE = 16
_NAMES, _RIGHT = 200, 104
_DECODE_SHARE = 0.54
_BAR = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One machine."""

    name: str
    detail: str
    """What runs there: quantisation, layers."""
    decode: Range | None
    prompt: Range | None
    aside: tuple[str, ...] = ()
    """Short lines at the right: watts, joules."""
    absent: str = ""
    """Why there is nothing to draw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A whole picture."""

    title: str
    subtitle: str
    rows: tuple[Row, ...]
    footnote: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    """One axis with its rows' figures."""

    heading: str
    css: str
    axis: Axis | None
    """None: no row has a figure."""
    left: float
    figures: tuple[Range | None, ...]


def svg(figure: Figure) -> str:
    """Return the picture as an SVG document."""
    width = _WIDTH - 2 * _MARGIN - _NAMES - _RIGHT - 2 * _GAP
    left = float(_MARGIN + _NAMES)
    middle = left + width * _DECODE_SHARE + _GAP
    end = float(_WIDTH - _MARGIN - _RIGHT - _GAP)
    panels = (
        _panel("decode, tok/s", "decode", [r.decode for r in figure.rows], left, middle - _GAP),
        _panel("prompt, tok/s", "prompt", [r.prompt for r in figure.rows], middle, end),
    )
    wrapped_title = wrapped(figure.title, 18, _WIDTH - 2 * _MARGIN)
    wrapped_subtitle = wrapped(figure.subtitle, 13, _WIDTH - 2 * _MARGIN)
    top = 24 + 24 * len(wrapped_title) + (_LINE + 2) * len(wrapped_subtitle) + 48
    heights = [_height(row, end - left) for row in figure.rows]
    bottom = top + sum(heights)
    notes = [line for panel in panels for line in _why_logarithmic(panel)]
    notes = [line for note in (*dict.fromkeys(notes), figure.footnote) for line in _note(note)]
    total = bottom + 30 + 18 * len(notes) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{total}" '
        f'viewBox="0 0 {_WIDTH} {total}" role="img" aria-labelledby="t d">',
        f'<title id="t">{safe(figure.title)}</title>',
        f'<desc id="d">{safe(_in_words(figure))}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{total}" rx="6"/>',
    ]
    parts += [
        text_at(_MARGIN, 36 + 24 * i, line, css="title") for i, line in enumerate(wrapped_title)
    ]
    under = 36 + 24 * len(wrapped_title)
    parts += [
        text_at(_MARGIN, under - 3 + (_LINE + 2) * i, line, css="dim")
        for i, line in enumerate(wrapped_subtitle)
    ]
    for panel in panels:
        parts += _grid(panel, top, bottom)
    y = float(top)
    for index, (row, height) in enumerate(zip(figure.rows, heights, strict=True)):
        parts += _row(row, y, height, available=end - left, left=left)
        for panel in panels:
            parts += _mark(panel, panel.figures[index], y + height / 2)
        y += height
    parts += [
        text_at(_MARGIN, bottom + 46 + 18 * i - 12, line, css="dim") for i, line in enumerate(notes)
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def check_target(path: Path) -> None:
    """Raise UsageError for a path that a picture cannot be written to."""
    if path.is_dir():
        raise UsageError(
            f"{printable(str(path))} is a folder.", hint="Name a file: --plot speeds.svg."
        )
    if path.suffix.lower() != ".svg":
        raise UsageError(
            f"{printable(str(path))}: pictures are written as SVG.",
            hint="Give a name that ends in .svg.",
        )
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {printable(str(path.parent))}.")
    if path.exists() and not path.is_file():
        raise UsageError(f"{printable(str(path))} is there already, and it is not a file.")


def write_picture(path: Path, text: str) -> None:
    """Write a picture whole or not at all, over a file of that name. Raises LocalLLMError."""
    check_target(path)
    write_whole(path, text)


def _panel(
    heading: str, css: str, figures: Sequence[Range | None], left: float, right: float
) -> _Panel:
    known = [figure for figure in figures if figure is not None and figure.value > 0]
    # Labels stand right of the whiskers: room for the longest is left free beside the axis.
    room = max((text_width(_label(figure), 12) for figure in known), default=0.0) + 10
    axis = axis_of(known, left, max(right - room, left + 60)) if known else None
    return _Panel(heading=heading, css=css, axis=axis, left=left, figures=tuple(figures))


def _grid(panel: _Panel, top: int, bottom: float) -> Iterator[str]:
    yield text_at(panel.left, top - 26, panel.heading, css="head")
    axis = panel.axis
    if axis is None:
        return
    for tick in axis.ticks:
        x = axis.at(tick)
        css = "axis" if tick == axis.least else "grid"
        yield f'<path class="{css}" d="M{x:.1f} {top - 4}V{bottom:.1f}"/>'
        yield text_at(x, top - 9, tick_text(tick), css="dim", anchor="middle")


def _row(row: Row, y: float, height: float, *, available: float, left: float) -> Iterator[str]:
    names = wrapped(row.name, 13, _NAMES - 12)
    details = wrapped(row.detail, 12, _NAMES - 12) if row.detail else []
    start = y + (height - _LINE * (len(names) + len(details))) / 2 + 12
    for i, line in enumerate(names):
        yield text_at(_MARGIN, start + _LINE * i, line, css="name")
    for i, line in enumerate(details):
        yield text_at(_MARGIN, start + _LINE * (len(names) + i), line, css="dim")
    if row.absent:
        lines = wrapped(row.absent, 13, available)
        start = y + (height - _LINE * len(lines)) / 2 + 12
        for i, line in enumerate(lines):
            yield text_at(left, start + _LINE * i, line, css="bad")
    start = y + (height - _LINE * len(row.aside)) / 2 + 12
    for i, line in enumerate(row.aside):
        yield text_at(_WIDTH - _MARGIN, start + _LINE * i, line, css="dim", anchor="end")


def _mark(panel: _Panel, figure: Range | None, y: float) -> Iterator[str]:
    """A bar from zero; on a logarithmic axis, which has no zero, a dot on a line."""
    axis = panel.axis
    if axis is None or figure is None or figure.value <= 0:
        return
    x, low, high = axis.at(figure.value), axis.at(figure.low or axis.least), axis.at(figure.high)
    if axis.logarithmic:
        yield f'<path class="lead" d="M{axis.left:.1f} {y:.1f}H{low:.1f}" stroke-dasharray="2 3"/>'
    else:
        yield (
            f'<rect class="{panel.css}" x="{axis.left:.1f}" y="{y - _BAR / 2:.1f}" '
            f'width="{max(x - axis.left, 1):.1f}" height="{_BAR}" rx="2"/>'
        )
    yield (
        f'<path class="range" fill="none" stroke-width="1.5" '
        f'd="M{low:.1f} {y:.1f}H{high:.1f}M{low:.1f} {y - 5:.1f}v10M{high:.1f} {y - 5:.1f}v10"/>'
    )
    if axis.logarithmic:
        yield f'<circle class="{panel.css}" cx="{x:.1f}" cy="{y:.1f}" r="6"/>'
    yield text_at(max(high, x) + 8, y + 4, _label(figure), css="value")


def _why_logarithmic(panel: _Panel) -> Iterator[str]:
    if panel.axis is not None and panel.axis.logarithmic:
        values = [figure.value for figure in panel.figures if figure is not None]
        ratio = format_rate(max(values) / min(values))
        yield (
            f"The {panel.css} axis is logarithmic: the fastest is {ratio} times the slowest. "
            "Equal distances are equal factors."
        )


def _in_words(figure: Figure) -> str:
    """The picture for whom reads it aloud."""
    return " ".join(f"{row.name}: {row.absent or _words_of(row.decode)}." for row in figure.rows)


def _words_of(figure: Range | None) -> str:
    if figure is None:
        return "no estimate"
    span = format_range(figure.low, figure.high).replace("-", " to ")
    return f"{format_rate(figure.value)} tokens per second, {span}"


def _height(row: Row, available: float) -> float:
    names = len(wrapped(row.name, 13, _NAMES - 12))
    details = len(wrapped(row.detail, 12, _NAMES - 12)) if row.detail else 0
    absent = len(wrapped(row.absent, 13, available)) if row.absent else 0
    return max(names + details, absent, len(row.aside), 2) * _LINE + 14.0


def _label(figure: Range) -> str:
    return f"{format_rate(figure.value)} ({format_range(figure.low, figure.high)})"


def _note(text: str) -> list[str]:
    return wrapped(text, 12, _WIDTH - 2 * _MARGIN)
