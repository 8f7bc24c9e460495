"""Figures as characters: bars that end within a cell, and curves of the last moments."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"
_REST = "·"


def bar(share: float, width: int, *, style: str = "$primary") -> Content:
    """Return ``width`` cells, of which a share (0 to 1) is filled to an eighth of a cell.

    Something that is there at all is seen.
    """
    share = min(max(share, 0.0), 1.0)
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    full, part = divmod(eighths, 8)
    filled = _EIGHTHS[8] * full + (_EIGHTHS[part] if part else "")
    return Content.assemble((filled, style), (_REST * (width - len(filled)), "$text-muted"))


def curve(values: Sequence[float | None], width: int, *, top: float | None = None) -> str:
    """Return the last ``width`` values, the newest at the right; a gap where one is not known.

    ``top``: what a whole cell stands for; without it, the largest value shown. All begin at 0.
    """
    shown = list(values)[-width:] if width > 0 else []
    known = [value for value in shown if value is not None]
    whole = top if top is not None else max(known, default=0.0)
    cells = "".join(" " if value is None else _level(value, whole) for value in shown)
    return cells.rjust(width)


def _level(value: float, whole: float) -> str:
    share = value / whole if whole > 0 else 0.0
    return _LEVELS[min(max(round(share * (len(_LEVELS) - 1)), 0), len(_LEVELS) - 1)]
