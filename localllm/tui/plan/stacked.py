"""One device's memory as a stacked bar: its parts told apart by texture, to an eighth of a cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localllm.core.plan import DeviceMemory
from localllm.tui.plan.marks import MUTED
from localllm.words.memory_sum import (
    COMPUTE,
    CONTEXT,
    MODEL,
    OVERHEAD,
    SHARED,
    SPARE,
    Part,
    borders,
    parts_of,
)

MAPPED = Part(name="mapped file", glyph="▤", ascii="#")
CACHED = Part(name="page cache", glyph="▫", ascii=".")
"""Pages of the file in RAM: of the model, and of what is spare until somebody needs it."""

_EIGHTHS = " ▏▎▍▌▋▊▉"
_EIGHT = 8
_END, _BEYOND, _MORE = "┃", "\N{BOX DRAWINGS LIGHT DIAGONAL CROSS}", "»"
_MOST_BEYOND = 1.5
"""What lies beyond a device's end is drawn up to so many times its own length."""

_FULL = 100
_STRENGTH = {MODEL: _FULL, MAPPED: _FULL, SHARED: 85, CONTEXT: 74, COMPUTE: 50, OVERHEAD: 30}
"""How much of the device's colour a part has, in percent; a part that is not here has none."""
_CONTRAST = 13
"""The same between the ink of a texture and its ground."""

Piece = tuple[str, str]
Sizes = Sequence[tuple[Part, int]]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One part in a bar's eighths, from ``start`` to before ``end``."""

    part: Part
    start: int
    end: int

    @property
    def cells(self) -> float:
        """How long it is."""
        return (self.end - self.start) / _EIGHT


def own_bytes(row: DeviceMemory) -> int | None:
    """Return what a device's bar stands for: its total, or its free memory where that is all."""
    return row.total_bytes or row.free_bytes


def span_bytes(row: DeviceMemory) -> int:
    """Return how far the drawing of a device reaches: its own memory, and what lies beyond."""
    own = own_bytes(row) or 0
    missing = max(-(row.spare_bytes or 0), 0)
    return own + min(missing, round(own * _MOST_BEYOND))


def stacked(
    row: DeviceMemory, colour: str, width: int, *, scale_bytes: int, shades: bool = True
) -> list[Piece]:
    """Return a device's bar, ``width`` cells for ``scale_bytes``; its own may be fewer.

    What does not fit is drawn beyond its end. Needs ``own_bytes``. ``shades``: see ``marks.Mark``.
    """
    own, missing = own_bytes(row) or 0, max(-(row.spare_bytes or 0), 0)
    if not missing:
        cells = max(round(width * own / scale_bytes), 1)
        return [*_parts(row, own, cells, colour, shades=shades), (" " * (width - cells), "")]
    cells = max(min(round(width * own / scale_bytes), width - 2), 1)
    reach = min(max(round(width * span_bytes(row) / scale_bytes), cells + 2), width)
    cut = own + missing > span_bytes(row)
    beyond = _BEYOND * (reach - cells - 1 - cut) + _MORE * cut
    pieces = [
        *_parts(row, own, cells, colour, shades=shades),
        (_END, "bold"),
        (beyond, "$text-error"),
    ]
    return [*pieces, (" " * (width - reach), "")]


def refined(row: DeviceMemory) -> list[tuple[Part, int]]:
    """Return the parts of a device with the pages of a mapped file told apart, in their order."""
    sizes: list[tuple[Part, int]] = []
    for part, size in parts_of(row):
        apart = {MODEL: (MAPPED, row.mapped_bytes), SPARE: (CACHED, row.cached_bytes)}.get(part)
        if apart is None:
            sizes.append((part, size))
        else:
            n_bytes = min(apart[1], size)
            inside = [(part, size - n_bytes), (apart[0], n_bytes)]
            sizes += inside if part is MODEL else reversed(inside)
    return sizes


def _parts(row: DeviceMemory, own: int, cells: int, colour: str, *, shades: bool) -> list[Piece]:
    sizes = refined(row)
    ends = borders(
        [size for _, size in sizes],
        total=own,
        width=_EIGHT * cells,
        least=_EIGHT,
        all_seen=(row.spare_bytes or 0) >= 0,
    )
    starts = [0, *ends[:-1]]
    seen = [
        _Drawn(part, start, end)
        for (part, _), start, end in zip(sizes, starts, ends, strict=True)
        if end > start
    ]
    drawn: list[_Drawn] = []
    for here, after in zip(seen, [*seen[1:], None], strict=True):
        # A part without ground cannot end within a cell, and a short one needs its cell whole.
        grounded = here.part in _STRENGTH if shades else here.part is MODEL
        long = after is not None and min(here.cells, after.cells) >= 2
        stop = here.end if grounded and long else (here.end + _EIGHT // 2) // _EIGHT * _EIGHT
        drawn.append(_Drawn(here.part, drawn[-1].end if drawn else 0, stop))
    pieces: list[Piece] = []
    for here, after in zip(drawn, [*drawn[1:], None], strict=True):
        first, last = -(-here.start // _EIGHT), here.end // _EIGHT
        pieces.append((here.part.glyph * (last - first), _texture(here.part, colour, shades)))
        if here.end % _EIGHT and after is not None:
            ground = _ground(after.part, colour) if shades else ""
            edge = _ground(here.part, colour) + (f" on {ground}" if ground else "")
            pieces.append((_EIGHTHS[here.end % _EIGHT], edge))
    return pieces


def _texture(part: Part, colour: str, shades: bool) -> str:
    """The look of a part's glyph: ink on ground, together of the part's strength."""
    if part not in _STRENGTH:
        return MUTED
    strength = _STRENGTH[part]
    if part is MAPPED and shades:
        return f"$background on {colour}"
    if strength == _FULL or not shades:
        return colour
    ink, ground = min(strength + _CONTRAST, _FULL), strength - _CONTRAST
    return f"{colour} {ink}% on {colour} {ground}%"


def _ground(part: Part, colour: str) -> str:
    """The colour of a part as a whole; nothing where it has none."""
    return f"{colour} {_STRENGTH[part]}%" if part in _STRENGTH else ""
