"""The status line: the figures of a moment in one row, the least important left out first."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from localllm.cli.chat.styled import Row, row
from localllm.words.status import Status

_SEPARATOR = " · "


def status_row(status: Status, width: int) -> Row:
    """Return the line for the terminal."""
    pieces: list[tuple[str, str]] = []
    for part in _parts(status, width):
        pieces += [(_SEPARATOR if pieces else " ", "dim"), part]
    return row(*pieces)


def _parts(status: Status, width: int) -> list[tuple[str, str]]:
    """Return texts with their styles that fit into ``width``, the least important left out."""
    wanted = [
        (1, status.model, "bold"),
        (0, status.speed_text, "bold cyan"),
        (3, status.predicted_text, "dim"),
        (2, status.slowed_text, "yellow"),
        (2, status.context_text, "dim"),
        (5, status.memory_text, "dim"),
        (4, status.power_text, "dim"),
    ]
    shown = [part for part in wanted if part[1]]
    while len(shown) > 1 and _width(shown) > width:
        shown.remove(max(shown))
    return [(text, style) for _, text, style in shown]


def _width(parts: Sequence[tuple[int, str, str]]) -> int:
    return 1 + sum(cell_len(text) for _, text, _ in parts) + len(_SEPARATOR) * (len(parts) - 1)
