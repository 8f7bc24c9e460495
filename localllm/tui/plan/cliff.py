"""How far the next cliff is: the room that others may still take, or what the next step lacks."""

from __future__ import annotations

from itertools import pairwise

from textual.content import Content

from localllm.core.plan import Cliff, DeviceMemory, Plan
from localllm.tui.plan.drawn import Drawn, Lines
from localllm.tui.plan.marks import MUTED, marks
from localllm.tui.plan.stacked import own_bytes
from localllm.units import format_bytes
from localllm.words.memory import cliff_sentence, place_name
from localllm.words.memory_sum import HEADROOM, IN_USE, borders

_NEEDED, _ROOM, _LACKING, _MISSING = "█", "─", "╌", "\N{BOX DRAWINGS LIGHT DIAGONAL CROSS}"
_MARK, _END = "▲", "┃"
_LONGEST_LACK = 0.5
"""What lies beyond a device's end is drawn up to this share of its own length."""
_SHORTEST = 8

Piece = tuple[str, str]


def cliff_lines(plan: Plan, width: int) -> list[Content]:
    """Return a gauge of the device with the cliff, and what happens there, in the plan's words."""
    cliff, sentence = plan.cliff, cliff_sentence(plan)
    if cliff is None or sentence is None:
        return Content.styled("— no cliff: no device's free memory is known", MUTED).wrap(width)
    row = next((row for row in plan.devices if row.name == cliff.device), None)
    if row is None:  # a device that only the next step would use
        return Content(sentence).wrap(width)
    name = f"{place_name(row)} "
    gauge = _gauge(row, cliff, marks(plan)[row.name].colour, max(width - len(name), _SHORTEST))
    return [Content.assemble((name, "bold"), *gauge), *_told(row, cliff, sentence, width)]


def _told(row: DeviceMemory, cliff: Cliff, sentence: str, width: int) -> list[Content]:
    figure = format_bytes(abs(cliff.bytes))
    rest = sentence.removeprefix(figure)
    missing = (row.spare_bytes or 0) < 0
    style = "bold $text-error" if missing else "bold $text-warning" if cliff.bytes < 0 else "bold"
    return Content.assemble("✗ " if missing else "", (figure, style), rest).wrap(width)


def _gauge(row: DeviceMemory, cliff: Cliff, colour: str, width: int) -> list[Piece]:
    """In use, needed, the room, what is kept free; then the end, and what is lacking beyond it."""
    own, spare = own_bytes(row) or 0, row.spare_bytes or 0
    lacking = max(-cliff.bytes, 0)
    beyond = 0
    if lacking:
        share = min(lacking / own, _LONGEST_LACK) if own else _LONGEST_LACK
        beyond = max(round(width * share / (1 + share)), 4)
    in_use = own - (row.free_bytes or own)
    sizes = [in_use, row.needed_bytes + row.shared_bytes, max(spare, 0), row.headroom_bytes]
    ends = [0, *borders(sizes, total=own, width=width - beyond)]
    others, needed, room, kept = (after - before for before, after in pairwise(ends))
    pieces = [
        (IN_USE.glyph * others, MUTED),
        (_NEEDED * needed, colour),
        *(_span(room, cliff) if not lacking else [("·" * room, MUTED)]),
        (HEADROOM.glyph * kept, MUTED),
    ]
    if not lacking:
        return pieces
    short, cells = spare < 0, beyond - 2
    line = (_MISSING * cells, "$text-error") if short else (_LACKING * cells, "$text-warning")
    return [*pieces, (_END, "bold"), line, (_MARK, "bold")]


def _span(cells: int, cliff: Cliff) -> list[Piece]:
    """The room up to the mark, with its size in it where that fits."""
    if cells < 1:
        return [(_MARK, "bold")]
    label = f" {format_bytes(cliff.bytes)} "
    inside = cells - 1
    text = label if len(label) + 4 <= inside else ""
    left = (inside - len(text)) // 2
    right = inside - len(text) - left
    return [
        ("├" * (left > 0) + _ROOM * (left - 1), "$text-success"),
        (text, "bold"),
        (_ROOM * right, "$text-success"),
        (_MARK, "bold"),
    ]


class CliffGauge(Drawn):
    """The gauge."""

    def lines(self, plan: Plan, width: int) -> Lines:
        """Return the gauge and its sentence."""
        return cliff_lines(plan, width)
