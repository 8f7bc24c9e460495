"""A comparison as a person reads it: one row per machine, as a page, as Markdown, as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from localllm.cli import plot
from localllm.cli.compare_cells import (
    Asked,
    columns,
    estimates,
    facts,
    gpu_layers,
    joules,
    lacking,
    markdown_title,
    notes,
    parted,
    this_machine,
    watts,
    with_source,
)
from localllm.cli.folding import Column, fold, markdown, markdown_text, table
from localllm.cli.plot_axis import Range
from localllm.core.comparison import Entry
from localllm.core.text import printable
from localllm.units import format_stated

if TYPE_CHECKING:
    from rich.console import Console


def print_comparison(console: Console, asked: Asked, entries: Sequence[Entry]) -> None:
    """Print one table over the machines, and under it what it cannot hold."""
    from rich.text import Text

    every = columns(entries)
    alike, differing = parted(every, entries)
    kept, left_out = fold(differing, console.width)
    name = (printable(asked.title), "bold")
    console.print(Text.assemble(name, "  ", printable(facts(asked, alike))))
    console.print()
    lost = frozenset(i for i, entry in enumerate(entries) if not entry.fits)
    console.print(table(kept, dim_rows=lost))
    console.print()
    for line in (
        *notes(entries),
        *_costs(asked, entries),
        *_left_out(left_out, console.width),
        estimates(asked),
    ):
        console.print(Text(printable(line)))


def as_markdown(asked: Asked, entries: Sequence[Entry]) -> str:
    """Return the whole table for GitHub: no column is left out, and this machine is described."""
    alike, differing = parted(columns(entries), entries)
    lines = [markdown_title(asked, alike), "", markdown(differing), ""]
    said = (*notes(entries), *_costs(asked, entries))
    lines += [f"- {markdown_text(note)}" for note in said]
    lines += [f"- {markdown_text(line)}" for line in this_machine(entries)]
    return with_source(lines, asked)


def figure(asked: Asked, entries: Sequence[Entry]) -> plot.Figure:
    """Return the picture: a bar of decode and one of prompt per machine."""
    alike, _ = parted(columns(entries), entries)
    return plot.Figure(
        title=f"{asked.title}: estimated speed by machine",
        subtitle=facts(asked, alike),
        rows=tuple(_bar(entry) for entry in entries),
        footnote=f"Estimates by localllm {asked.version}, 80 % range; not measurements.",
    )


def _left_out(columns: Sequence[Column], width: int) -> Iterator[str]:
    if columns:
        names = ", ".join(column.heading for column in columns)
        yield (
            f"Not shown at {width} columns: {names}. A wider terminal, --markdown and --json show "
            "them."
        )


def _costs(asked: Asked, entries: Sequence[Entry]) -> Iterator[str]:
    """What the cost is of, where it was asked for."""
    prices = asked.prices
    if prices is None or not any(entry.option and entry.option.cost for entry in entries):
        return
    if prices.per_hour is not None:
        yield (
            f"Cost: of a million generated tokens, at a rent of {format_stated(prices.per_hour)} "
            f"{prices.currency} per hour for each machine."
        )
    elif prices.per_kwh is not None:
        yield (
            "Cost: electricity of a million generated tokens, by the estimated draw at the "
            f"socket and {format_stated(prices.per_kwh)} {prices.currency} per kWh."
        )


def _bar(entry: Entry) -> plot.Row:
    option = entry.option
    speed = option.speed if option else None
    if option is None or speed is None:
        why = entry.refusal.message if entry.refusal else "nothing is known of its speed"
        short = lacking(entry.shortages)
        return plot.Row(
            name=entry.machine.label,
            detail="",
            decode=None,
            prompt=None,
            absent=f"does not fit: short of {short}" if short else why,
        )
    layers = gpu_layers(option)
    aside = [f"{watts(option)} W", f"{joules(option)} J/token"] if option.power else []
    if option.cost:
        aside.append(f"{option.cost.per_million_tokens:,.2f} {option.cost.currency}/M")
    known = speed.pp_tok_s is not None and speed.pp_low is not None and speed.pp_high is not None
    return plot.Row(
        name=entry.machine.label,
        detail=f"{option.model.quant}, {layers if layers == 'CPU' else f'{layers} layers'}",
        decode=Range(value=speed.tg_tok_s, low=speed.tg_low, high=speed.tg_high),
        prompt=Range(
            value=speed.pp_tok_s or 0.0, low=speed.pp_low or 0.0, high=speed.pp_high or 0.0
        )
        if known
        else None,
        aside=tuple(aside),
    )
