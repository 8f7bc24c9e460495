"""The context as rows of text: how full it is, and what happens when it is."""

from __future__ import annotations

from collections.abc import Mapping

from textual.content import Content

from localllm.tui.chat.side.figures import AtEnd, ContextFigures
from localllm.tui.chat.side.pieces import NONE, Detail, Rows, muted
from localllm.tui.widgets.blocks import flowed, gauge

_AT_END: Mapping[AtEnd, str] = {
    "stops": "when full the answer stops",
    "shifts": "when full the oldest half is dropped",
    "cannot shift": "this model cannot shift: it stops",
}
_FULL_SOON = 0.9


def context_rows(figures: ContextFigures, width: int, detail: Detail) -> Rows:
    """Return tokens used of all, a bar, and what happens at the end."""
    if detail == 1:
        return flowed([context_piece(figures)], width=width)
    used = "shifted" if figures.shifted else _count(figures)
    share = figures.n_used / figures.n_ctx if figures.n_used is not None and figures.n_ctx else None
    percent = "" if share is None else f" {share:.0%}"
    end = muted(_AT_END[figures.at_end])
    if share is not None and share >= _FULL_SOON:
        end = Content.styled(f"▲ {_AT_END[figures.at_end]}", "$text-warning")
    counted = Content(f"{used} of {figures.n_ctx:,} tokens")
    if detail == 2:
        return [flowed([counted, end], width=width)[0]]
    bar = gauge(share, width=width - 5)
    return [Content.assemble(bar, f"{percent:>5}"), counted, end]


def context_piece(figures: ContextFigures) -> Content:
    """Return it in short: ``context 1,204/8,192``."""
    return Content(f"context {_count(figures)}/{figures.n_ctx:,}")


def _count(figures: ContextFigures) -> str:
    return NONE if figures.n_used is None else f"{figures.n_used:,}"
