"""A machine on a page: its sections in a table, with a bar for each memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from localllm.cli import draw
from localllm.cli.output import unicode_output
from localllm.core.calibration import Observation
from localllm.core.hardware import Hardware
from localllm.core.metered.meters import SeenMeters
from localllm.words import hardware as words
from localllm.words import memory_sum

_STYLES: Mapping[words.Tone, str] = {
    "plain": "",
    "strong": "bold",
    "muted": "dim",
    "good": "green",
    "warn": "yellow",
    "bad": "red",
}


def print_hardware(
    console: Console,
    hardware: Hardware,
    observations: Sequence[Observation] = (),
    meters: SeenMeters | None = None,
) -> None:
    """Print one machine, what own measurements say of the speed estimates for it, its meters."""
    console.print(_text(words.title(hardware)))
    console.print()
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    width, unicode = max(min(console.width - 56, 48), 16), unicode_output()
    for section in words.sections(hardware, observations, meters):
        if table.row_count:
            table.add_row()
        for index, line in enumerate(section.lines):
            text = _text(line.pieces)
            if line.used is not None:
                text = _usage_bar(*line.used, width=width, unicode=unicode).append("  ") + text
            table.add_row("" if index else section.label, text)
    console.print(table)


def _text(pieces: Sequence[words.Piece]) -> Text:
    if len(pieces) == 1:
        return Text(pieces[0][0], style=_STYLES[pieces[0][1]])
    return Text.assemble(*((text, _STYLES[tone]) for text, tone in pieces))


def _usage_bar(used: int, total: int, *, width: int, unicode: bool) -> Text:
    parts = [(memory_sum.MODEL, used), (memory_sum.SPARE, total - used)]
    return draw.bar(parts, total=total, width=width, unicode=unicode)
