"""Machines x quantisations as a grid of tokens per second, in as many blocks as it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from localllm.cli.compare_cells import (
    Asked,
    columns,
    estimates,
    facts,
    markdown_title,
    parted,
    this_machine,
    with_source,
)
from localllm.cli.folding import GAP, Column, markdown, markdown_text, table
from localllm.core.comparison import Entry
from localllm.core.text import printable
from localllm.units import format_rate

if TYPE_CHECKING:
    from rich.console import Console


def print_grid(
    console: Console, asked: Asked, grid: Sequence[Sequence[Entry]], *, unicode: bool
) -> None:
    """Print tokens per second by machine and quantisation, in as many blocks as it takes."""
    from rich.text import Text

    names, blocks = _grid_columns(grid, width=console.width, unicode=unicode)
    name = (printable(asked.title), "bold")
    console.print(Text.assemble(name, "  ", printable(facts(asked, _alike_in(grid)))))
    for block in blocks:
        console.print()
        console.print(table([names, *block]))
    console.print()
    for line in (*_grid_legend(grid, unicode=unicode), estimates(asked)):
        console.print(Text(printable(line)))


def grid_as_markdown(asked: Asked, grid: Sequence[Sequence[Entry]]) -> str:
    """Return the grid for GitHub."""
    names, blocks = _grid_columns(grid, width=None, unicode=True)
    lines = [markdown_title(asked, _alike_in(grid)), "", markdown([names, *blocks[0]]), ""]
    lines += [f"- {markdown_text(line)}" for line in _grid_legend(grid, unicode=True)]
    lines += [f"- {markdown_text(line)}" for line in this_machine(grid[0])]
    return with_source(lines, asked)


def _grid_columns(
    grid: Sequence[Sequence[Entry]], *, width: int | None, unicode: bool
) -> tuple[Column, list[list[Column]]]:
    """Return the names' column, and the quantisations' in blocks that fit beside it."""
    labels = tuple(entry.machine.label for entry in grid[0])
    names = Column(heading="tok/s", cells=("file", "loss", *labels), bold=True)
    each = [_quant_column(entries, unicode=unicode) for entries in grid]
    if width is None:
        return names, [each]
    blocks: list[list[Column]] = [[]]
    for column in each:
        used = names.width + sum(c.width + GAP for c in (*blocks[-1], column))
        if blocks[-1] and used > width:
            blocks.append([])
        blocks[-1].append(column)
    return names, blocks


def _quant_column(entries: Sequence[Entry], *, unicode: bool) -> Column:
    option = next((entry.option for entry in entries if entry.option), None)
    assert option is not None  # compare() raises where every machine refuses
    model = option.model
    size = f"{model.file_bytes / 1024**3:,.1f}G"
    return Column(
        heading=option.model.quant,
        cells=(
            size,
            f"{format_rate(100 * option.loss.ppl_increase, digits=2)}%",
            *(_speed_cell(entry, unicode=unicode) for entry in entries),
        ),
        right=True,
    )


def _speed_cell(entry: Entry, *, unicode: bool) -> str:
    option = entry.option
    if option is None or not option.fits:
        return "✗" if unicode else "no"
    if option.speed is None:
        return "?"
    partly = not option.solution.whole and option.solution.placement.n_gpu_layers
    return format_rate(option.speed.tg_tok_s) + ("*" if partly else "")


def _grid_legend(grid: Sequence[Sequence[Entry]], *, unicode: bool) -> Iterator[str]:
    cells = {_speed_cell(entry, unicode=unicode) for entries in grid for entry in entries}
    if any(cell.endswith("*") for cell in cells):
        yield "*: a part of the weights stays in RAM."
    if cells & {"✗", "no"}:
        yield f"{'✗' if unicode else 'no'}: does not fit."
    yield "file: the weights in GiB. loss: how much the perplexity rises, expected."


def _alike_in(grid: Sequence[Sequence[Entry]]) -> list[str]:
    every = [entry for entries in grid for entry in entries]
    alike, _ = parted(columns(every), every)
    return alike
