"""The choices beside a plan as a person reads them: the front as a table; what a target lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from localllm.cli.compare_cells import decode, gpu_layers, joules, kv_types, prompt, watts
from localllm.cli.folding import Column, fold, table
from localllm.core.option import Option
from localllm.core.plan import Plan
from localllm.core.quality import grade
from localllm.core.target import Reach, Step
from localllm.core.text import printable
from localllm.units import format_bytes, format_rate

FOLDING = ("nats", "W", "J/token", "prompt tok/s", "context", "size", "GPU layers", "KV")
"""The order in which columns give way on a narrow terminal."""


def marked(options: Sequence[Option], plan: Plan) -> Option | None:
    """Return the option that a plan is for, if it is among them."""
    for option in options:
        shape = option.solution.settings.shape
        same = (option.model.quant, shape.type_k, shape.type_v, shape.n_ctx)
        if same == (plan.model.quant, plan.type_k, plan.type_v, plan.n_ctx):
            return option
    return None


def print_alternatives(
    console: Console, options: Sequence[Option], chosen: Option | None, *, unicode: bool
) -> None:
    """Print the front as a table, the best quality first, with the chosen row marked."""
    mark = "\u25b8" if unicode else ">"
    kept, left_out = fold(_columns(options, chosen, mark=mark), console.width)
    console.print()
    console.print(Text("Alternatives", style="bold"))
    console.print(table(kept))
    notes = [
        "None beats another in quality, speed and context at once. Estimates, with 80 % ranges."
    ]
    if chosen is not None:
        notes.insert(0, f"{mark} is this plan.")
    if left_out:
        names = ", ".join(column.heading for column in left_out)
        notes.append(f"Too narrow for: {names}.")
    console.print(Text(" ".join(notes), style="dim"))


def _columns(options: Sequence[Option], chosen: Option | None, *, mark: str) -> list[Column]:
    def column(
        heading: str, text: Callable[[Option], str], *, right: bool = True, bold: bool = False
    ) -> Column:
        folds = FOLDING.index(heading) if heading in FOLDING else None
        cells = tuple(text(option) for option in options)
        return Column(heading=heading, cells=cells, folds=folds, right=right, bold=bold)

    columns = [
        column("", lambda o: mark if o is chosen else ""),
        column("quant", lambda o: o.model.quant, right=False, bold=True),
        column("loss (perplexity)", _loss, right=False),
        column("nats", lambda o: f"{o.loss.kld:.2g}"),
        column("KV", kv_types, right=False),
        column("context", lambda o: f"{o.n_ctx:,}"),
        column("GPU layers", gpu_layers),
        column("tok/s (80 %)", lambda o: decode(o) if o.speed else "does not fit"),
        column("prompt tok/s", prompt),
    ]
    if any(option.power for option in options):
        columns += [column("W", watts), column("J/token", joules)]
    return [*columns, column("size", lambda o: format_bytes(o.model.file_bytes))]


def print_reach(console: Console, reach: Reach) -> None:
    """Print what a target lacks and the changes that reach it, the least first."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    verdict = "reached" if reach.reached else "not reached"
    grid.add_row("Target", Text(f"{reach.target}: {verdict}."))
    if not reach.reached:
        grid.add_row("Missing", Text(printable(reach.missing)))
    for index, step in enumerate(reach.steps):
        label = "Least change" if index == 0 else "or" if index == 1 else ""
        grid.add_row(label, Text(printable(f"{step.change}: {gives(step)}.")))
    if not reach.reached and not reach.steps:
        grid.add_row("Nearest", Text(printable(nearest(reach))))
    console.print()
    console.print(grid)


def gives(step: Step) -> str:
    """Return what a change gives: the speed with its range, and the energy where it is known."""
    words = f"{decode(step.option)} tok/s"
    if step.option.power is not None:
        words += f", {format_rate(step.option.power.j_per_token)} J/token"
    return words


def nearest(reach: Reach) -> str:
    """Return what comes nearest to a target that nothing known reaches."""
    if reach.nearest is None:
        return "Nothing known reaches it, and nothing known fits."
    return f"Nothing known reaches it; nearest is {reach.nearest.change}: {gives(reach.nearest)}."


def _loss(option: Option) -> str:
    """The word for a loss, and the rise of the perplexity where it shows."""
    word, percent = grade(option.loss.kld), 100 * option.loss.ppl_increase
    if option.loss.kld == 0:
        return "none"
    return word if percent < 0.05 else f"{word} +{percent:.{0 if percent >= 10 else 1}f} %"
