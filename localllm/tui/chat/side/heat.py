"""Temperature, clocks and what holds them back, as rows of text."""

from __future__ import annotations

from textual.content import Content

from localllm.tui.chat.side.figures import HeatFigures
from localllm.tui.chat.side.pieces import NONE, Detail, Rows, muted
from localllm.tui.widgets.blocks import flowed


def heat_rows(figures: HeatFigures, width: int, detail: Detail) -> Rows:
    """Return how the devices are; a dash and the reason where nothing is told."""
    if figures.unknown is not None:
        return Content.assemble(f"{NONE} ", muted(figures.unknown)).wrap(width)
    pieces = [*state_pieces(figures), held_piece(figures)]
    if detail > 1:
        past = [muted("at the last answer's end")] if figures.is_past else []
        return flowed([*pieces, *past], width=width)
    return flowed([pieces[-1], *pieces] if figures.throttle else pieces, width=width)[:1]


def state_pieces(figures: HeatFigures) -> Rows:
    """Return the temperature and the clock, as far as they are told."""
    pieces = []
    if figures.temperature_c is not None:
        pieces.append(Content(f"{figures.temperature_c:.0f} °C"))
    if figures.clock_mhz is not None:
        most = "" if figures.clock_max_mhz is None else f" of {figures.clock_max_mhz:,.0f}"
        pieces.append(Content(f"{figures.clock_mhz:,.0f}{most} MHz"))
    return pieces


def held_piece(figures: HeatFigures) -> Content:
    """Return what holds the clocks back; ``ok`` where it is told that nothing does."""
    if figures.throttle:
        return Content.styled(f"▲ held back: {' + '.join(figures.throttle)}", "$text-warning")
    if figures.throttle_told:
        return Content.styled("✓ ok, not held back", "$text-success")
    return muted("throttling not told")
