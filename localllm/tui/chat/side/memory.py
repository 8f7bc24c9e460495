"""Memory as rows of text: what is in use at every place, what llama.cpp took, what was planned."""

from __future__ import annotations

from textual.content import Content

from localllm.core.reconcile import Reconciled, difference, measured_text, sentence
from localllm.tui.chat.side.figures import MemoryFigures, PlaceFigures
from localllm.tui.chat.side.pieces import NONE, Detail, Rows, muted
from localllm.tui.widgets.blocks import flowed, gauge
from localllm.units import format_bytes, format_part
from localllm.words.memory import taken

_MOST_NAME = 8


def memory_rows(figures: MemoryFigures, width: int, detail: Detail) -> Rows:
    """Return each place of the plan: a gauge with the plan's mark, then planned and allocated."""
    if detail == 1:
        return flowed([place_piece(place) for place in figures.places], width=width)
    names = max((len(place.name) for place in figures.places), default=0)
    column = min(names, _MOST_NAME)
    rows: Rows = []
    for place in figures.places:
        rows.append(_gauge_row(place, width, column))
        if detail == 3:
            rows.append(_allocated(place, width))
    if detail == 3 and figures.unknown is not None:
        rows += muted(figures.unknown).wrap(width)
    return rows


def place_piece(place: PlaceFigures) -> Content:
    """Return a place and what is in use there, in short: ``CUDA0 6.91 of 16.0 GiB``."""
    return Content.assemble((f"{place.name} ", "bold"), _used(place))


def _held(place: PlaceFigures) -> tuple[int | None, str]:
    """What is in use, with ``≥`` where only what llama.cpp allocated is known."""
    if place.used_bytes is not None or place.allocated is None:
        return place.used_bytes, ""
    allocated = place.allocated.measured
    return (None if allocated is None else round(allocated)), "≥ "


def _used(place: PlaceFigures) -> str:
    n_bytes, sign = _held(place)
    if n_bytes is None:
        return NONE if place.total_bytes is None else f"{NONE} of {format_bytes(place.total_bytes)}"
    if place.total_bytes is None:
        return sign + format_bytes(n_bytes)
    part = format_part(n_bytes, place.total_bytes)
    if n_bytes and not part.partition(" ")[0].strip("0."):  # little, and not nothing
        who = "engine" if place.is_host else "used"
        part = f"{who} {format_bytes(n_bytes)} · total {format_bytes(place.total_bytes)}"
    return sign + part


def _gauge_row(place: PlaceFigures, width: int, column: int) -> Content:
    name, used = place.name[:column].ljust(column), _used(place)
    total = place.total_bytes or 0
    room = width - column - len(used) - 2
    if not total or room < 4:
        return Content.assemble((name, "bold"), f" {used}")
    n_bytes, _ = _held(place)
    bar = gauge(
        None if n_bytes is None else n_bytes / total,
        width=room,
        mark=None if place.expected_bytes is None else place.expected_bytes / total,
    )
    return Content.assemble((name, "bold"), " ", bar, f" {used}")


def _allocated(place: PlaceFigures, width: int) -> Content:
    """Planned beside allocated, and what is drawn above."""
    if place.used_bytes is None:
        now = place.used_unknown or ""
    else:
        now = "resident" if place.is_host else "in use by all"
    if place.allocated is None:
        return muted(f"  {now}")
    allocated = Content.assemble("  ", muted(_beside_plan(place.allocated, width - 2)))
    return flowed([allocated, muted(now)], width=width)[0]


def _beside_plan(figure: Reconciled, width: int) -> str:
    """Planned and allocated, in short where there is no room for the sentence."""
    whole = sentence(figure)
    if len(whole) <= width or figure.predicted is None or figure.measured is None:
        return whole
    if figure.predicted == figure.measured:
        return f"{measured_text(figure)}, planned {difference(figure)}"
    return f"{taken(round(figure.predicted), round(figure.measured))}, {difference(figure)}"
