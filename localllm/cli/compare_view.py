"""A comparison as a person reads it: one row per machine, as a page, as Markdown, as a picture."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localllm.cli import plot
from localllm.cli.folding import GAP, Column, fold, markdown, markdown_text, table
from localllm.core.choice import Option
from localllm.core.comparison import Entry, Shortage
from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.policy import Prices
from localllm.core.quality import describe_loss, grade, total_loss
from localllm.core.text import printable
from localllm.units import format_bytes, format_count, format_range, format_rate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

NONE = "-"
"""What is not known, or not to be had."""

FOLDING = ("loss", "prompt tok/s", "context", "W", "J/token", "KV", "cost", "quant")
"""The order in which columns give way on a narrow terminal. The rest always stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the rows have in common: whose they are, and how they were asked for."""

    name: str
    """The model, as it was asked for."""
    title: str
    n_params: int
    depth: int
    prices: Prices | None
    version: str
    command: tuple[str, ...]


def print_comparison(console: Console, asked: Asked, entries: Sequence[Entry]) -> None:
    """Print one table over the machines, and under it what it cannot hold."""
    from rich.text import Text

    every = columns(entries)
    alike, differing = _parted(every, entries)
    kept, left_out = fold(differing, console.width)
    console.print(_title(asked, alike))
    console.print()
    lost = frozenset(i for i, entry in enumerate(entries) if not entry.fits)
    console.print(table(kept, dim_rows=lost))
    console.print()
    for line in (
        *notes(entries),
        *_costs(asked, entries),
        *_left_out(left_out, console.width),
        _estimates(asked),
    ):
        console.print(Text(printable(line)))


def print_grid(
    console: Console, asked: Asked, grid: Sequence[Sequence[Entry]], *, unicode: bool
) -> None:
    """Print tokens per second by machine and quantisation, in as many blocks as it takes."""
    from rich.text import Text

    names, blocks = _grid_columns(grid, width=console.width, unicode=unicode)
    console.print(_title(asked, _alike_in(grid)))
    for block in blocks:
        console.print()
        console.print(table([names, *block]))
    console.print()
    for line in (*_grid_legend(grid, unicode=unicode), _estimates(asked)):
        console.print(Text(printable(line)))


def as_markdown(asked: Asked, entries: Sequence[Entry]) -> str:
    """Return the whole table for GitHub: no column is left out, and this machine is described."""
    alike, differing = _parted(columns(entries), entries)
    lines = [_markdown_title(asked, alike), "", markdown(differing), ""]
    said = (*notes(entries), *_costs(asked, entries))
    lines += [f"- {markdown_text(note)}" for note in said]
    lines += [f"- {markdown_text(line)}" for line in _this_machine(entries)]
    return _with_source(lines, asked)


def grid_as_markdown(asked: Asked, grid: Sequence[Sequence[Entry]]) -> str:
    """Return the grid for GitHub."""
    names, blocks = _grid_columns(grid, width=None, unicode=True)
    lines = [_markdown_title(asked, _alike_in(grid)), "", markdown([names, *blocks[0]]), ""]
    lines += [f"- {markdown_text(line)}" for line in _grid_legend(grid, unicode=True)]
    lines += [f"- {markdown_text(line)}" for line in _this_machine(grid[0])]
    return _with_source(lines, asked)


def figure(asked: Asked, entries: Sequence[Entry]) -> plot.Figure:
    """Return the picture: a bar of decode and one of prompt per machine."""
    alike, _ = _parted(columns(entries), entries)
    return plot.Figure(
        title=f"{asked.title}: estimated speed by machine",
        subtitle=", ".join([f"{format_count(asked.n_params)} parameters", *alike, _depth(asked)]),
        rows=tuple(_bar(entry) for entry in entries),
        footnote=f"Estimates by localllm {asked.version}, 80 % range; not measurements.",
    )


def columns(entries: Sequence[Entry]) -> list[Column]:
    """Return every column, in the order in which they are read."""

    def cells(text: Callable[[Option], str]) -> tuple[str, ...]:
        return tuple(text(entry.option) if entry.option else NONE for entry in entries)

    def column(heading: str, text: Callable[[Option], str], *, fold: str = "") -> Column:
        place = FOLDING.index(fold) if fold else None
        return Column(heading=heading, cells=cells(text), folds=place, right=True)

    return [
        Column(heading="machine", cells=tuple(e.machine.label for e in entries), bold=True),
        Column(heading="fits", cells=tuple("yes" if e.fits else "no" for e in entries)),
        Column(heading="quant", cells=cells(lambda o: o.model.quant), folds=FOLDING.index("quant")),
        column("loss", lambda o: grade(o.loss.kld) if o.loss.kld else "none", fold="loss"),
        column("layers", gpu_layers),
        column("context", lambda o: f"{o.solution.settings.shape.n_ctx:,}", fold="context"),
        column("KV", kv_types, fold="KV"),
        Column(heading="tok/s (80 %)", cells=tuple(map(_decode_or_why_not, entries)), right=True),
        column("prompt tok/s", prompt, fold="prompt tok/s"),
        column("W", watts, fold="W"),
        column("J/token", joules, fold="J/token"),
        *_cost(entries, cells),
    ]


def gpu_layers(option: Option) -> str:
    """How much lies on GPUs: ``33/33``, ``CPU``, and of which layers the experts do not."""
    placement = option.solution.placement
    if not placement.n_gpu_layers:
        return "CPU"
    text = f"{placement.n_gpu_layers}/{option.model.n_layer_total}"
    n_host = len(placement.host_expert_layers)
    return f"{text} ncmoe {n_host}" if n_host else text


def kv_types(option: Option) -> str:
    """The cache's type, or both."""
    shape = option.solution.settings.shape
    return shape.type_k if shape.type_k == shape.type_v else f"{shape.type_k}/{shape.type_v}"


def decode(option: Option) -> str:
    """Decode speed with its range."""
    speed = option.speed
    if speed is None:
        return NONE
    return f"{format_rate(speed.tg_tok_s)} ({format_range(speed.tg_low, speed.tg_high)})"


def prompt(option: Option) -> str:
    """Speed of a prompt."""
    speed = option.speed
    return NONE if speed is None or speed.pp_tok_s is None else format_rate(speed.pp_tok_s)


def watts(option: Option) -> str:
    """Mean draw while decoding."""
    return NONE if option.power is None else format_rate(option.power.board_w)


def joules(option: Option) -> str:
    """Energy of one token."""
    return NONE if option.power is None else format_rate(option.power.j_per_token)


def lacking(shortages: Sequence[Shortage]) -> str:
    """What is short, and where: ``12.3 GiB in RAM``."""
    return ", ".join(
        f"{format_bytes(s.n_bytes)} {'in' if s.place == 'RAM' else 'on'} {s.place}"
        for s in shortages
    )


def notes(entries: Sequence[Entry]) -> Iterator[str]:
    """Sentences on single machines, and on columns that have nothing to say."""
    for entry in entries:
        if entry.refusal is not None:
            yield f"{entry.machine.label}: {entry.refusal.message}"
        elif not entry.fits:
            yield f"{entry.machine.label}: short of {lacking(entry.shortages)}."
        if entry.choice is not None and entry.choice.unmet is not None:
            yield f"{entry.machine.label}: {entry.choice.unmet}"
    much = [e for e in entries if e.option and e.fits and grade(e.option.loss.kld) == "large"]
    for entry in much:
        assert entry.option is not None
        yield (
            f"{entry.machine.label}: {entry.option.model.quant} loses much, "
            f"{describe_loss(entry.option.loss)}; a smaller model in more bits answers better."
        )
    options = [entry.option for entry in entries if entry.option and entry.fits]
    if any("ncmoe" in gpu_layers(option) for option in options):
        yield "ncmoe N: the experts of N layers stay in RAM."
    scopes = {option.power.scope for option in options if option.power}
    if scopes:
        yield f"W and J/token: {' or '.join(sorted(scopes))} while decoding, estimated."
    without = [e.machine.label for e in entries if e.option and e.fits and not e.option.power]
    if without:
        where = "any of them" if len(without) == len(options) else ", ".join(without)
        yield f"W and J/token are not estimated for {where}: the draw of its devices is not known."


def command_line(command: Sequence[str]) -> str:
    """The command as it can be typed again."""
    return printable(shlex.join(command))


def _decode_or_why_not(entry: Entry) -> str:
    """Decode speed; of a machine without one, what is missing in all."""
    missing = sum(shortage.n_bytes for shortage in entry.shortages)
    if missing:
        return f"{format_bytes(missing)} short"
    return decode(entry.option) if entry.option else "see below"


def _cost(
    entries: Sequence[Entry], cells: Callable[[Callable[[Option], str]], tuple[str, ...]]
) -> Iterator[Column]:
    currency = next((e.option.cost.currency for e in entries if e.option and e.option.cost), None)
    if currency is None:
        return
    texts = cells(lambda o: f"{o.cost.per_million_tokens:,.2f}" if o.cost else NONE)
    heading = f"{currency}/M tok"
    yield Column(heading=heading, cells=texts, folds=FOLDING.index("cost"), right=True)


_SAID_ONCE = ("quant", "loss", "context", "KV")


def _parted(every: Sequence[Column], entries: Sequence[Entry]) -> tuple[list[str], list[Column]]:
    """Return what is the same on all machines, in words, and the columns that differ."""
    shown = [i for i, entry in enumerate(entries) if entry.option is not None]
    alike, differing = list[str](), list[Column]()
    for column in every:
        values = {column.cells[i] for i in shown}
        if column.heading not in _SAID_ONCE or len(values) != 1 or len(entries) == 1:
            differing.append(column)
            continue
        value = values.pop()
        words = {"quant": value, "loss": f"loss {value}", "KV": f"KV {value}"}
        alike.append(words.get(column.heading, f"{column.heading} {value}"))
    return alike, differing


def _title(asked: Asked, alike: Sequence[str]) -> Text:
    from rich.text import Text

    facts = [f"{format_count(asked.n_params)} parameters", *alike, _depth(asked)]
    return Text.assemble((printable(asked.title), "bold"), "  ", printable(", ".join(facts)))


def _markdown_title(asked: Asked, alike: Sequence[str]) -> str:
    facts = [f"{format_count(asked.n_params)} parameters", *alike, _depth(asked)]
    return f"**{markdown_text(asked.title)}**: {markdown_text(', '.join(facts))}"


def _depth(asked: Asked) -> str:
    if not asked.depth:
        return "speeds at the start of the context"
    return f"speeds {asked.depth:,} tokens into the context"


def _estimates(asked: Asked) -> str:
    return (
        f"Estimates by localllm {asked.version}, not measurements: in 8 of 10 cases the speed is "
        "within its range."
    )


def _with_source(lines: list[str], asked: Asked) -> str:
    lines += [
        "",
        f"{_estimates(asked)} Made with:",
        "",
        "```sh",
        command_line(asked.command),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _costs(asked: Asked, entries: Sequence[Entry]) -> Iterator[str]:
    """What the cost is of, where it was asked for."""
    prices = asked.prices
    if prices is None or not any(entry.option and entry.option.cost for entry in entries):
        return
    if prices.per_hour is not None:
        yield (
            f"Cost: of a million generated tokens, at a rent of {prices.per_hour:g} "
            f"{prices.currency} per hour for each machine."
        )
    elif prices.per_kwh is not None:
        yield (
            "Cost: electricity of a million generated tokens, by the estimated draw at the "
            f"socket and {prices.per_kwh:g} {prices.currency} per kWh."
        )


def _left_out(columns: Sequence[Column], width: int) -> Iterator[str]:
    if columns:
        names = ", ".join(column.heading for column in columns)
        yield (
            f"Not shown at {width} columns: {names}. A wider terminal, --markdown and --json show "
            "them."
        )


def _this_machine(entries: Sequence[Entry]) -> Iterator[str]:
    """A pasted table says what "this machine" was."""
    for entry in entries:
        hardware = entry.machine.hardware
        if hardware.source == THIS_MACHINE:
            yield f"{entry.machine.label}: {describe(hardware)}."


def describe(hardware: Hardware) -> str:
    """A machine in a few words: its GPUs, its CPU, its RAM; no host name."""
    parts = [device.description for device in hardware.usable_devices] or ["no GPU"]
    host = hardware.host
    return ", ".join([*parts, host.cpu, f"{format_bytes(host.total_bytes)} RAM"])


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
        decode=plot.Range(value=speed.tg_tok_s, low=speed.tg_low, high=speed.tg_high),
        prompt=plot.Range(
            value=speed.pp_tok_s or 0.0, low=speed.pp_low or 0.0, high=speed.pp_high or 0.0
        )
        if known
        else None,
        aside=tuple(aside),
    )


# ------------------------------------------------------------------------- machines x quants


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
    loss = total_loss(model, model.quant, n_ctx=option.n_ctx).ppl_increase
    return Column(
        heading=option.model.quant,
        cells=(
            size,
            f"{format_rate(100 * loss, digits=2)}%",
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
    yield "file: the weights in GiB. loss: how much the perplexity rises by the weights, expected."


def _alike_in(grid: Sequence[Sequence[Entry]]) -> list[str]:
    every = [entry for entries in grid for entry in entries]
    alike, _ = _parted(columns(every), every)
    return alike
