"""A plan as a person reads it: the verdict, a sum per device, bars, reasons and what would help."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from localllm.cli import draw
from localllm.cli.output import unicode_output
from localllm.cli.plan_explain import counted, machine, terms_table
from localllm.cli.plan_speed import speed_lines, time_table
from localllm.core.hardware import THIS_MACHINE
from localllm.core.plan import DeviceMemory, Plan
from localllm.core.text import printable
from localllm.words.flags import command_line, llama_command
from localllm.words.memory import capacity, cliff_sentence, place_name, shortage
from localllm.words.memory_sum import (
    COMPUTE,
    CONTEXT,
    HEADROOM,
    IN_USE,
    MODEL,
    OVERHEAD,
    SHARED,
    SPARE,
    MemorySum,
    parts_of,
)
from localllm.words.plan import (
    basis_sentence,
    model_facts,
    planned_for,
    runs,
    summary,
    verdict,
)
from localllm.words.speeds import power_sentences, speed_sentences

_ROOMY_COLUMNS = 96

_BASIS_STYLES = {"exact": "green", "formula": "cyan", "recorded shape": "yellow"}


def print_plan(console: Console, plan: Plan, *, explain: bool = False) -> None:
    """Print one plan; ``explain`` adds how its figures were counted."""
    unicode = unicode_output()
    console.print(_title(plan))
    if plan.hardware.source != THIS_MACHINE:
        # Before anything else.
        console.print(Text(planned_for(plan.hardware), style="yellow"))
    console.print(_verdict(plan, unicode=unicode))
    console.print()
    console.print(_sums(console, plan, unicode=unicode))
    bars = _bars(console, plan, unicode=unicode)
    if bars.row_count:
        console.print()
        console.print(bars)
    console.print()
    if explain:
        console.print(terms_table(plan))
        console.print()
        times = time_table(plan)
        if times is not None:
            console.print(times)
            console.print()
    console.print(_facts(plan, explain=explain))
    console.print()
    # Never wrapped by us: a terminal's own wrapping leaves one line to copy.
    console.print(Text(command_line(llama_command(plan))), soft_wrap=True)


def _title(plan: Plan) -> Text:
    return Text.assemble(
        (printable(plan.model.name), "bold"),
        "  ",
        model_facts(plan.model),
        "  ",
        (f"[{plan.basis}]", _BASIS_STYLES[plan.basis]),
    )


def _verdict(plan: Plan, *, unicode: bool) -> Text:
    good = runs(plan)
    mark = ("✓ " if good else "✗ ") if unicode else ""
    style = "bold green" if good else "bold red"
    return Text.assemble((f"{mark}{verdict(plan)}", style), f"  {summary(plan)}")


def _sums(console: Console, plan: Plan, *, unicode: bool) -> Table:
    """One row per device. The terms, headroom and spare add up to what is free."""
    gap = 2 if console.width >= _ROOMY_COLUMNS else 1
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="")
    table.add_column(Text("MiB\n", style="dim"))
    table.add_column("layers\n", justify="right")
    shared = any(row.shared_bytes for row in plan.devices)
    terms = [MODEL, CONTEXT, COMPUTE, OVERHEAD]
    terms += [SHARED] * shared + [HEADROOM, SPARE]
    for part in terms:
        glyph = (part.shown(unicode=unicode), draw.STYLES[part])
        table.add_column(Text.assemble(part.name, "\n", glyph), justify="right")
    table.add_column("free now\n", justify="right")
    for row in plan.devices:
        figures = MemorySum.of(row)
        spare = figures.spare
        table.add_row(
            Text(place_name(row), style="bold"),
            str(row.n_layers),
            f"{figures.model:,}",
            f"{figures.context:,}",
            f"{figures.compute:,}",
            f"{figures.overhead:,}",
            *([f"{figures.shared:,}"] * shared),
            f"{figures.headroom:,}",
            _unknown_or(spare, style="bold red" if spare is not None and spare < 0 else ""),
            _unknown_or(figures.free),
        )
    return table


def _unknown_or(mib: int | None, *, style: str = "") -> Text:
    return Text("?" if mib is None else f"{mib:,}", style=style)


def _bars(console: Console, plan: Plan, *, unicode: bool) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    rows = [row for row in plan.devices if row.total_bytes and row.free_bytes is not None]
    names = [Text(place_name(row), style="bold") for row in rows]
    captions = [_bar_caption(row, unicode=unicode) for row in rows]
    beside = max(map(len, names), default=0) + max(map(len, captions), default=0) + 3
    for row, name, caption in zip(rows, names, captions, strict=True):
        total = row.total_bytes or 0
        width = max(console.width - beside, 20)
        table.add_row(
            name, draw.bar(parts_of(row), total=total, width=width, unicode=unicode), caption
        )
    return table


def _bar_caption(row: DeviceMemory, *, unicode: bool) -> Text:
    missing = shortage(row)
    if missing is not None:
        return Text(missing, style="bold red")
    return Text(capacity(row, in_use=f"{IN_USE.shown(unicode=unicode)} "), style="dim")


def _facts(plan: Plan, *, explain: bool) -> Table:
    """Labelled paragraphs, each label once."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    sections: list[tuple[str, Sequence[str]]] = [
        ("Speed", tuple(speed_sentences(plan))),
        ("Power", tuple(power_sentences(plan, explain=explain))),
        ("Why", plan.reasons),
        ("Next", tuple(filter(None, [cliff_sentence(plan)]))),
        ("Would help", [other.change for other in plan.counterfactuals]),
        ("Basis", (basis_sentence(plan),)),
    ]
    if explain:
        sections += [
            ("Counted", tuple(counted(plan))),
            ("Timed", tuple(speed_lines(plan))),
            ("Machine", tuple(machine(plan))),
        ]
    for label, paragraphs in sections:
        for index, paragraph in enumerate(paragraphs):
            cell: RenderableType = Text(printable(paragraph))
            if len(paragraphs) > 1:
                cell = Padding(cell, 0)
            table.add_row(label if index == 0 else "", cell)
    return table
