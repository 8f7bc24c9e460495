"""Power as rows of text: watts and whose they are, joules a token, each beside its estimate."""

from __future__ import annotations

from textual.content import Content

from localllm.core.joules import PerToken, per_token_text
from localllm.core.metered.per_token import NO_IDLE
from localllm.core.metered.readings import Unmeasured
from localllm.tui.chat.side.figures import PowerFigures, TakenFigures
from localllm.tui.chat.side.pieces import (
    NONE,
    Detail,
    Rows,
    beside,
    estimate,
    muted,
    picture,
    strong,
    watts_text,
)
from localllm.tui.widgets.blocks import flowed
from localllm.units import format_duration, format_rate

_N_JOULES = 4
"""Rows for joules in full detail, whatever is told in them."""


def power_rows(figures: PowerFigures, width: int, detail: Detail) -> Rows:
    """Return watts and joules a token; or why there are none, and what would give some."""
    watts, metered = figures.watts, figures.scope is not None
    head = watts_pieces(figures)
    why = muted(watts.unmeasured or "")
    if detail == 1:
        return flowed([*head, joules_piece(figures)], width=width)
    if not metered:
        return _no_meter(figures, width, detail)
    if detail == 3:  # why there are none takes the place of the meter's name
        rows = [flowed(head, width=width)[0]]
        rows += flowed([muted(_by(figures)) if watts.measured is not None else why], width=width)
    else:
        rows = flowed([*head, why], width=width)
    rows.append(beside(watts, width, unit=True))
    if detail == 2:
        return [*rows, joules_beside(figures)]
    rows += picture(
        figures.history,
        width=width,
        height=1,
        top=max(watts.predicted or 0.0, watts.measured or 0.0),
        style="$text-warning",
    )
    joules = _joules_rows(figures, width)
    return [*rows, *joules, *[Content("")] * (_N_JOULES - len(joules))]


def watts_pieces(figures: PowerFigures) -> Rows:
    """Return the watts and whose they are, of this moment or of the last answer."""
    mean = " mean" if figures.is_past else ""
    return [strong(f"{watts_text(figures.watts.measured)}{mean}"), Content(figures.scope or "")]


def joules_piece(figures: PowerFigures) -> Content:
    """Return joules a token in short: of the answer so far, else of the last one."""
    so_far, last = figures.so_far, figures.last
    if so_far is not None and so_far.measured is not None:
        return Content(f"~{format_rate(so_far.measured, digits=2)} J/token")
    if last is None or last.beside.measured is None:
        return muted(f"{NONE} J/token")
    about = "~" if last.beside.rough else ""
    return Content(f"{about}{format_rate(last.beside.measured, digits=2)} J/token")


def joules_beside(figures: PowerFigures) -> Content:
    """Return the same with its estimate: ``~4.8 J/token (est. 4.50)``."""
    figure = figures.so_far or (None if figures.last is None else figures.last.beside)
    expected = estimate(figure or figures.expected_joules, ends=False)
    return Content.assemble(joules_piece(figures), " (", expected, ")")


def _by(figures: PowerFigures) -> str:
    """By which meters, and over how long."""
    mean = f", mean of {format_duration(figures.window_s)}" if figures.window_s else ""
    return f"by {' + '.join(figures.sources)}{mean}"


def _joules_rows(figures: PowerFigures, width: int) -> Rows:
    so_far, last = figures.so_far, figures.last
    if so_far is not None:
        rows = [Content.assemble(joules_piece(figures), " so far")]
        rows.append(Content.assemble("  ", beside(so_far, width - 2)))
        if last is not None and last.beside.measured is not None:
            before = f"last answer {format_rate(last.beside.measured, digits=2)} J/token"
            rows.append(muted(before))
        return rows
    if last is None:
        return [muted(f"{NONE} J/token, no answer yet")]
    return _taken_rows(last, width)


def _taken_rows(last: TakenFigures, width: int) -> Rows:
    """What a token of the last answer took, with both errors, and beyond idling."""
    if isinstance(last.gross, Unmeasured):
        return Content(f"{NONE} J/token: {last.gross.reason}").wrap(width)
    rows = Content(per_token_text(last.gross)).wrap(width)
    rows.append(Content.assemble("  ", beside(last.beside, width - 2)))
    return [*rows, muted(f"beyond idle {_net(last.net)}")]


def _net(net: PerToken | Unmeasured) -> str:
    """Beyond idling, its sensor's error left to the figure above."""
    if isinstance(net, Unmeasured):
        return f"{NONE}, {net.reason}" if net.reason != NO_IDLE else f"{NONE}, idle not known yet"
    return per_token_text(net).partition(" (stat)")[0]


def _no_meter(figures: PowerFigures, width: int, detail: Detail) -> Rows:
    """Why nothing is measured, what would mend it, and the estimate that stands alone."""
    watts = figures.watts
    why = watts.unmeasured or "nothing is read"
    rows = Content.assemble((f"{NONE} W", "bold"), f" {why}").wrap(width)
    if figures.fix is not None:
        rows += Content.assemble(("→ ", "$text-accent"), figures.fix).wrap(width)
    of = muted(figures.expected_scope or "")
    rows += flowed([beside(watts, width, unit=True), of], width=width)
    if detail == 3:
        rows.append(beside(figures.expected_joules, width, unit=True))
    return rows
