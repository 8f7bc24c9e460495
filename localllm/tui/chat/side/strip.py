"""The figures in two rows, for a screen that has no room for the column beside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.content import Content
from textual.widget import Widget

from localllm.core.text import printable
from localllm.tui.chat.side.beside import BesideRun
from localllm.tui.chat.side.context import context_piece
from localllm.tui.chat.side.figures import RunFigures, SpeedFigures
from localllm.tui.chat.side.heat import state_pieces
from localllm.tui.chat.side.memory import place_piece
from localllm.tui.chat.side.pieces import Rows, beside, muted
from localllm.tui.chat.side.power import joules_beside, joules_piece, watts_pieces
from localllm.tui.chat.side.speed import going_pieces, pace_pieces, speed_picture
from localllm.tui.widgets.blocks import flowed
from localllm.tui.widgets.rows import RowsView

if TYPE_CHECKING:
    from localllm.tui.chat.situation import Situation

_SPARK = 10
_GAP = "  "


def strip_rows(figures: RunFigures, width: int) -> Rows:
    """Return the speed in one row and the rest in another, as much as has room."""
    power, heat = figures.power, figures.heat
    first = [
        Content(" ").join(piece for piece in watts_pieces(power) if piece.cell_length),
        joules_beside(power),
        context_piece(figures.context),
        Content.styled(f"▲ {' + '.join(heat.throttle)}" if heat.throttle else "", "$text-warning"),
    ]
    if len(flowed(first, width=width)) > 1:
        first[1] = joules_piece(power)
    rest = [
        *state_pieces(heat)[:1],
        muted(power.watts.unmeasured or ""),
        *(place_piece(place) for place in figures.memory.places),
    ]
    return [_speed_row(figures.speed, width), _as_many([*first, *rest], width)]


def _speed_row(figures: SpeedFigures, width: int) -> Content:
    """What goes on, how it went, and beside it what was expected."""
    going = flowed(going_pieces(figures), width=width)[0]
    if figures.phase == "prompt" and figures.prompt is not None:
        return _as_many([going, *pace_pieces(figures.prompt)], width)
    drawn = speed_picture(figures, width=_SPARK + 6, height=1)[0][:_SPARK]
    for picture in (drawn, Content("")) if figures.history is not None else (Content(""),):
        parts = [going, *([picture] if picture.cell_length else [])]
        room = width - sum(part.cell_length + len(_GAP) for part in parts)
        expected = beside(figures.answer, max(room, 1))
        if expected.cell_length <= room:
            return Content(_GAP).join([*parts, expected])
    return _as_many([going, expected], width)


def _as_many(pieces: Iterable[Content], width: int) -> Content:
    """Return the pieces that fit one row; one that does not is left out, and the next is tried."""
    taken: Rows = []
    for piece in pieces:
        if len(flowed([*taken, piece], width=width)) == 1:
            taken.append(piece)
    return flowed(taken, width=width)[0]


class SideStrip(BesideRun):
    """As ``SidePanel``, in two rows and without a border."""

    DEFAULT_CSS = """
    SideStrip {
        height: auto;
        max-height: 3;
        border: none;
        background: $surface;
        &.-failed { border: none; }
        &:focus-within { border: none; }
    }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        """Begin with the empty look."""
        super().__init__(id=id, classes=classes)
        self._rows = RowsView()

    def compose_body(self) -> Iterable[Widget]:
        """Yield the rows."""
        return (self._rows,)

    def loading_words(self, situation: Situation) -> str:
        """Return what is waited for; how far it is stands right above."""
        return printable(situation.title)

    def lay_out(self, figures: RunFigures) -> None:
        """Fill the width."""
        width = self.scrollable_content_region.width
        if width > 0:
            self._rows.show(strip_rows(figures, width))
            why = figures.power.watts.unmeasured
            self.tooltip = None if why is None else printable(f"No watts: {why}.")
