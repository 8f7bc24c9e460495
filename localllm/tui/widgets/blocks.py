"""Pictures in characters: sparklines, gauges and ranges, each a row or a few of text.

Sizes and positions are told by the characters themselves; a colour only repeats them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.content import Content

_LEVELS = "▁▂▃▄▅▆▇█"
_PARTS = "▏▎▍▌▋▊▉"
TRACK = "░"
MARK = "┃"
"""Where something was planned or expected to end."""


def spark(values: Sequence[float | None], *, high: float, height: int = 1) -> list[str]:
    """Return ``height`` rows, the upper first: a column for each value, from 0 up to ``high``.

    A gap where there is none; 0 is the lowest level, so that it is told from a gap.
    """
    columns = [_column(value, high=high, height=height) for value in values]
    return ["".join(column[row] for column in columns) for row in range(height)]


def _column(value: float | None, *, high: float, height: int) -> str:
    """One column's characters, the upper first."""
    if value is None:
        return " " * height
    share = value / high if high > 0 else 0.0
    level = min(max(round(share * 8 * height), 1), 8 * height)
    full, part = divmod(level, 8)
    below = "█" * full
    column = below + (_LEVELS[part - 1] if part else "")
    return column.ljust(height)[::-1]


def gauge(
    share: float | None,
    *,
    width: int,
    mark: float | None = None,
    style: str = "$primary",
    over: str = "$warning",
) -> Content:
    """Return a bar of ``width`` cells filled up to a share of it, to an eighth of a cell.

    ``mark``: another share, where the filled part should end; what lies beyond it is drawn in
    ``over``. Without a share only the track is drawn. Something is never drawn as nothing.
    """
    if width < 1:
        return Content("")
    filled = 0 if share is None else _eighths(share, width)
    cells = [*("█" * (filled // 8))]
    if filled % 8:
        cells.append(_PARTS[filled % 8 - 1])
    n_filled = len(cells)
    cells += TRACK * (width - n_filled)
    at = None if mark is None else min(int(min(max(mark, 0.0), 1.0) * width), width - 1)
    return Content.assemble(
        *(
            (char, "$foreground" if i == at else _cell_style(i, n_filled, at, style, over))
            for i, char in enumerate(char if i != at else MARK for i, char in enumerate(cells))
        )
    ).simplify()


def _cell_style(i: int, n_filled: int, at: int | None, style: str, over: str) -> str:
    if i >= n_filled:
        return "$foreground 30%"
    return over if at is not None and i > at else style


def _eighths(share: float, width: int) -> int:
    """How many eighths of a cell are filled: at least one of anything, never more than all."""
    n = min(round(share * width * 8), width * 8)
    return max(n, 1) if share > 0 else 0


def span(
    low: float, high: float, *, middle: float, value: float | None, width: int, style: str = ""
) -> Content:
    """Return a range with its middle ``┼``, and ``●`` where a value lies in it: ``├──●──┼────┤``.

    A value below or above it is an arrow at that end.
    """
    if width < 5 or high <= low:
        return Content("")
    cells = [*"├", *("─" * (width - 2)), *"┤"]

    def at(figure: float) -> int:
        return 1 + round((figure - low) / (high - low) * (width - 3))

    cells[min(max(at(middle), 1), width - 2)] = "┼"
    if value is None:
        return Content.styled("".join(cells), style)
    where = 0 if value < low else width - 1 if value > high else at(value)
    mark = "◂" if value < low else "▸" if value > high else "●"
    return Content.assemble(
        ("".join(cells[:where]), style),
        (mark, "$text-primary bold" if low <= value <= high else "$text-warning bold"),
        ("".join(cells[where + 1 :]), style),
    )


def scale(width: int, text: str, *, style: str = "$foreground-muted") -> Content:
    """Return a line of ``width`` cells with what it is long in its middle: ``└─── 15 s ───┘``."""
    room = width - 2
    if room < len(text) + 2:
        return Content.styled(text[:width], style)
    middle = f" {text} " if text else ""
    return Content.styled(f"└{middle:─^{room}}┘", style)


def flowed(pieces: Iterable[Content], *, width: int, between: str = " · ") -> list[Content]:
    """Return pieces in as few rows as they need, none divided unless it is wider than a row."""
    rows: list[Content] = []
    gap = Content.styled(between, "$foreground-muted")
    for piece in pieces:
        if not piece.cell_length:
            continue
        if rows and rows[-1].cell_length + len(between) + piece.cell_length <= width:
            rows[-1] = Content.assemble(rows[-1], gap, piece)
        else:
            rows += piece.wrap(width) if piece.cell_length > width else [piece]
    return rows
