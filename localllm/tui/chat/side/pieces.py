"""Pieces of text that the panel and the strip share: an estimate is called one, a gap is a dash."""

from __future__ import annotations

from typing import Literal

from textual.content import Content

from localllm.core.reconcile import Reconciled, percent, predicted_text
from localllm.core.text import printable
from localllm.tui.chat.side.history import History, resampled
from localllm.tui.widgets.blocks import flowed, scale, spark
from localllm.units import format_rate
from localllm.words.figures import rate
from localllm.words.speeds import watts_of

Rows = list[Content]
Detail = Literal[1, 2, 3]
"""How much a section says; 1 is the least."""

MUTED = "$foreground-muted"
STRONG = "bold"
NONE = "—"


def muted(text: str) -> Content:
    """Return text that stands behind the figures."""
    return Content.styled(printable(text), MUTED)


def strong(text: str) -> Content:
    """Return the text that is looked at first."""
    return Content.styled(printable(text), STRONG)


def heading(name: str, width: int) -> Content:
    """Return a section's name on a rule."""
    rule = "─" * max(width - len(name) - 1, 0)
    return Content.assemble((name, "bold $text-primary"), " ", (rule, "$foreground 30%"))


def estimate(figure: Reconciled, *, unit: bool = False, ends: bool = True) -> Content:
    """Return ``est. 14.1 (11 to 17)``; a dash where there is none. ``ends``: with its range."""
    if figure.predicted is None:
        return muted(f"est. {NONE}")
    if figure.unit == "W":
        text = watts_of(figure.predicted, figure.low, figure.high).said
    else:
        text = predicted_text(figure, unit=unit)
    return muted(f"est. {text if ends else text.partition(' (')[0]}")


def off(figure: Reconciled) -> Content:
    """Return how far the measurement is from the estimate: ``-9.2 %``, ``+73 % outside``."""
    if figure.off is None:
        return Content("")
    if figure.within_range is False:
        return Content.styled(f"{percent(figure.off)} outside", "$text-warning")
    return Content.styled(percent(figure.off), "$text-success")


def beside(figure: Reconciled, width: int, *, unit: bool = False, ends: bool = True) -> Content:
    """Return the estimate and how far off it is in one row; its range goes first for room."""
    for with_ends in (True, False) if ends else (False,):
        rows = flowed([estimate(figure, unit=unit, ends=with_ends), off(figure)], width=width)
        if len(rows) == 1:
            break
    return rows[0]


def speed(tok_s: float | None) -> Content:
    """Return a measured speed: ``13.0 tok/s``, ``— tok/s``."""
    return Content.assemble((NONE if tok_s is None else rate(tok_s), STRONG), " tok/s")


def watts_text(watts: float | None) -> str:
    """Return watts as the status line of a chat has them."""
    return f"{NONE} W" if watts is None else f"{watts:,.0f} W"


def picture(history: History | None, *, width: int, height: int, top: float, style: str) -> Rows:
    """Return a sparkline with its axis: ``height`` rows, and from two on another for the time.

    ``top``: the axis ends there or above.
    """
    known = [] if history is None else [value for value in history.values if value is not None]
    high = max([top, *known], default=0.0)
    ends = [_top(high), *[""] * (height - 2)]
    ends += ["0"] * (height > 1)
    label = max(len(end) for end in ends) + 1
    n = max(width - label, 1)
    rows = spark(_columns(history, n), high=high, height=height)
    drawn = [
        Content.assemble((row, style), (f"{end:>{label}}", MUTED))
        for row, end in zip(rows, ends, strict=True)
    ]
    if height > 1:
        drawn.append(scale(n, "" if history is None else f"{history.seconds:.0f} s"))
    return drawn


def _top(high: float) -> str:
    return "" if high <= 0 else format_rate(high, digits=3 if high >= 100 else 2)


def _columns(history: History | None, n: int) -> list[float | None]:
    """Return a value for each of ``n`` columns."""
    values = [None] if history is None else resampled(history, n)
    return [values[len(values) * i // n] for i in range(n)]
