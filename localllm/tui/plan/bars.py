"""Memory as bars: each device's total shared among its parts, and the sum that they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.reactive import reactive

from localllm.core.plan import DeviceMemory, Plan
from localllm.core.text import printable
from localllm.tui.plan.drawn import Drawn, Lines, flowed
from localllm.tui.plan.marks import MUTED, marks
from localllm.tui.plan.stacked import CACHED, MAPPED, own_bytes, span_bytes, stacked
from localllm.units import MiB, format_bytes
from localllm.words.memory import cached_pages, mapped_pages, place_name, shortage
from localllm.words.memory_sum import (
    COMPUTE,
    CONTEXT,
    HEADROOM,
    IN_USE,
    MODEL,
    OVERHEAD,
    SHARED,
    SPARE,
    MemorySum,
    Part,
)

_UNIT = "MiB"
_PLUS, _EQUALS, _BESIDE = "+", "=", "│"
_LOUD = "bold $text-error"
_ROOM_FOR_GLYPHS = 3
_SHORTEST = 8
"""Cells of a bar, however little room there is."""


def bars_lines(
    plan: Plan, width: int, *, one_scale: bool = False, shades: bool = True
) -> list[Content]:
    """Return a bar and a sum for every device, ``width`` cells wide.

    ``one_scale``: bars as long as their devices are large, to be compared with each other.
    ``shades``: see ``marks.Mark``.
    """
    columns, name_cells = _columns(plan), max(len(place_name(row)) for row in plan.devices)
    gap = _gap(columns, width - name_cells)
    lines = list(_bars(plan, name_cells, width, one_scale=one_scale, shades=shades))
    lines += _heads(columns, name_cells, gap) if gap else []
    for row in plan.devices:
        name = (place_name(row).ljust(name_cells), "bold")
        if gap:
            lines.append(Content.assemble(name, *_sum(columns, row, gap)))
        else:
            terms = [Content.assemble(*column.named(row)) for column in columns]
            lines += flowed([Content.assemble(name, (f" {_UNIT}", MUTED)), *terms], width)
    for part, sentence in ((MAPPED, mapped_pages(plan)), (CACHED, cached_pages(plan))):
        if sentence is not None:
            lines += Content.assemble((f"{part.glyph} {sentence}", MUTED)).wrap(width)
    return lines


def _bars(
    plan: Plan, name_cells: int, width: int, *, one_scale: bool, shades: bool
) -> Iterator[Content]:
    captions = [_caption(plan, row) for row in plan.devices]
    beside = name_cells + 2 + max(caption.cell_length for caption in captions)
    largest = max(map(span_bytes, plan.devices))
    for row, caption in zip(plan.devices, captions, strict=True):
        name = (place_name(row).ljust(name_cells), "bold")
        if own_bytes(row) is None:
            yield from Content.assemble(name, " ", caption).wrap(width)
            continue
        bar = stacked(
            row,
            marks(plan)[row.name].colour,
            max(width - beside, _SHORTEST),
            scale_bytes=largest if one_scale else span_bytes(row),
            shades=shades,
        )
        yield Content.assemble(name, " ", *bar, " ", caption)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """One term of the sums: a figure for each device, in MiB."""

    head: str
    glyph: str
    figures: Mapping[str, int | None]
    before: str
    """The sign between it and the term before."""

    @property
    def cells(self) -> int:
        """Cells that it takes."""
        return max(len(self.head), *(len(_shown(n)) for n in self.figures.values()))

    def named(self, row: DeviceMemory) -> Iterator[tuple[str, str]]:
        """Glyph, name and figure of a device, where there is no table."""
        figure = self.figures[row.name]
        yield f"{self.glyph} " if self.glyph else "= ", ""
        yield f"{self.head} ", MUTED
        yield _shown(figure), _LOUD if figure is not None and figure < 0 else ""


def _columns(plan: Plan) -> list[_Column]:
    """The terms, which add up to what is free; at the end what others use beside that."""
    rows = plan.devices
    sums = {row.name: MemorySum.of(row) for row in rows}
    terms: list[tuple[Part, dict[str, int | None]]] = [
        (MODEL, {name: s.model for name, s in sums.items()}),
        (CONTEXT, {name: s.context for name, s in sums.items()}),
        (COMPUTE, {name: s.compute for name, s in sums.items()}),
        (OVERHEAD, {name: s.overhead for name, s in sums.items()}),
        (SHARED, {name: s.shared for name, s in sums.items()}),
        (HEADROOM, {name: s.headroom for name, s in sums.items()}),
        (SPARE, {name: s.spare for name, s in sums.items()}),
    ]
    columns = [
        _Column(head=part.name, glyph=part.glyph, figures=figures, before=_PLUS)
        for part, figures in terms
        if part is not SHARED or any(figures.values())
    ]
    free = {name: s.free for name, s in sums.items()}
    columns.append(_Column(head="free now", glyph="", figures=free, before=_EQUALS))
    in_use = {row.name: _in_use(row) for row in rows}
    if any(in_use.values()):
        columns.append(
            _Column(head=IN_USE.name, glyph=IN_USE.glyph, figures=in_use, before=_BESIDE)
        )
    return columns


def _in_use(row: DeviceMemory) -> int | None:
    if row.total_bytes is None or row.free_bytes is None:
        return None
    return max(-(-row.total_bytes // MiB) - row.free_bytes // MiB, 0)


def _gap(columns: Sequence[_Column], width: int) -> int:
    """Cells before each column: room for signs, at least one cell, or 0 where no table fits."""
    needed = sum(column.cells for column in columns)
    gaps = (gap for gap in (5, 3, 1) if needed + gap * len(columns) <= width)
    return next(gaps, 0)


def _heads(columns: Sequence[_Column], name_cells: int, gap: int) -> list[Content]:
    """Names and glyphs of the terms: side by side where there is room, else below each other."""
    names: list[tuple[str, str]] = [(_UNIT.ljust(name_cells), MUTED)]
    glyphs: list[tuple[str, str]] = [(" " * name_cells, "")]
    beside = gap >= _ROOM_FOR_GLYPHS
    for column in columns:
        room = column.cells + gap
        if beside:
            names.append((column.glyph.rjust(room - len(column.head) - 1) + " ", ""))
            names.append((column.head, MUTED))
        else:
            sign = _BESIDE if column.before == _BESIDE else ""
            names.append((sign.center(gap) + column.head.rjust(column.cells), MUTED))
        glyphs.append((column.glyph.rjust(room), ""))
    lines = [Content.assemble(*names)]
    return lines if beside else [*lines, Content.assemble(*glyphs)]


def _sum(columns: Sequence[_Column], row: DeviceMemory, gap: int) -> Iterator[tuple[str, str]]:
    """One device's figures, with the signs between them that there is room for."""
    for index, column in enumerate(columns):
        figure, sign = column.figures[row.name], column.before if index else ""
        shown, cells = _shown(figure), column.cells
        if gap == 1 and sign == _EQUALS and len(shown) + 2 <= cells:
            sign, shown = "", f"{sign} {shown}"
        roomy = gap > 1 or sign == _BESIDE
        yield (sign if roomy else "").center(gap), MUTED
        yield shown.rjust(cells), _LOUD if figure is not None and figure < 0 else ""


def _shown(figure: int | None) -> str:
    return "?" if figure is None else f"{figure:,}"


def _caption(plan: Plan, row: DeviceMemory) -> Content:
    missing = shortage(row)
    if missing is not None:
        return Content.styled(f"✗ {missing}", _LOUD)
    if row.total_bytes is not None:
        return Content.styled(format_bytes(row.total_bytes), MUTED)
    if row.free_bytes is not None:
        return Content.styled(f"{format_bytes(row.free_bytes)} free", MUTED)
    device = next((device for device in plan.hardware.devices if device.name == row.name), None)
    why = device.unknown.get("total_bytes", "") if device is not None else ""
    return Content.styled(printable(f"— {why or 'its memory could not be read'}"), MUTED)


class MemoryBars(Drawn):
    """The bars; ``one_scale`` draws them all on the largest device's scale."""

    one_scale: reactive[bool] = reactive(False, layout=True)

    def lines(self, plan: Plan, width: int) -> Lines:
        """Return bars and sums."""
        return bars_lines(plan, width, one_scale=self.one_scale, shades=self.shades)
