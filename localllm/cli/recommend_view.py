"""What a machine runs well, as a person reads it: one line per model, and the plan behind each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from localllm.cli.compare_cells import (
    decode,
    describe,
    gpu_layers,
    joules,
    kv_types,
    loss_word,
    prompt,
)
from localllm.cli.folding import Column, fold, markdown, markdown_text, table
from localllm.core.choice import Option
from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.policy import Policy
from localllm.core.recommendation import Recommendation, Row, Sort, Wish, least_tok_s
from localllm.core.text import printable
from localllm.units import format_bytes, format_count, format_rate
from localllm.words.flags import Command, command_line, hardware_flags, policy_flags

if TYPE_CHECKING:
    from rich.console import Console

FOLDING = ("prompt tok/s", "KV", "context", "file", "loss", "J/token")
"""The order in which columns give way on a narrow terminal."""

_ORDERED_BY: dict[Sort, str] = {
    "size": "the largest first",
    "speed": "the fastest first",
    "context": "the longest context first",
    "j-per-token": "the least energy a token first",
}


def print_recommendation(
    console: Console,
    found: Recommendation,
    hardware: Hardware,
    policy: Policy,
    wish: Wish,
    *,
    version: str,
    commands: Sequence[Command],
) -> None:
    """Print the rows, the commands that plan them, and what became of the other models."""
    from rich.text import Text

    console.print(Text.assemble((_place(hardware), "bold"), f"  {_asked(policy, wish)}"))
    console.print()
    if found.rows:
        kept, left_out = fold(columns(found.rows, wish.sort), console.width)
        console.print(table(kept))
        console.print()
        for line in (*_same_shape(found.rows), *_left_out(left_out, console.width)):
            console.print(Text(printable(line)))
        console.print(Text("The plan behind each row:", style="bold"))
        for command in commands:
            # Never wrapped by us: a terminal's own wrapping leaves one line to copy.
            console.print(Text(command_line(command)), soft_wrap=True)
        console.print()
    console.print(Text(_others(found)))
    if found.rows:
        console.print(Text(_estimates(version)))


def as_markdown(
    found: Recommendation,
    hardware: Hardware,
    policy: Policy,
    wish: Wish,
    *,
    version: str,
    commands: Sequence[Command],
    command: Command,
) -> str:
    """Return the same for GitHub, with every column."""
    title = f"**{markdown_text(_place(hardware))}**: {markdown_text(_asked(policy, wish))}"
    lines = [title, ""]
    if hardware.source == THIS_MACHINE:
        lines += [f"{markdown_text(describe(hardware))}.", ""]
    if found.rows:
        lines += [markdown(columns(found.rows, wish.sort)), ""]
        lines += [f"- {markdown_text(line)}" for line in _same_shape(found.rows)]
    lines += [f"- {_others(found)}"]
    lines += ["", f"{_estimates(version)} Made with:", "", "```sh"]
    lines += [command_line(command), "```"]
    if commands:
        lines += ["", "The plan behind each row:", "", "```sh"]
        lines += [*(command_line(each) for each in commands), "```"]
    return "\n".join(lines) + "\n"


def columns(rows: Sequence[Row], sort: Sort) -> list[Column]:
    """Return every column, in the order in which they are read; what rows are ordered by stays."""
    ordered_by = {"context": "context", "j-per-token": "J/token"}.get(sort)

    def column(
        heading: str, text: Callable[[Option], str], *, right: bool = True, folds: bool = True
    ) -> Column:
        return Column(
            heading=heading,
            cells=tuple(text(row.option) for row in rows),
            folds=FOLDING.index(heading) if folds and heading != ordered_by else None,
            right=right,
        )

    return [
        Column(heading="model", cells=tuple(row.name for row in rows), bold=True),
        Column(heading="params", cells=tuple(_params(row) for row in rows), right=True),
        *_active(rows),
        column("quant", lambda o: o.model.quant, right=False, folds=False),
        column("loss", loss_word),
        column("file", lambda o: format_bytes(o.model.file_bytes)),
        column("layers", gpu_layers, folds=False),
        column("context", lambda o: f"{o.n_ctx:,}"),
        column("KV", kv_types),
        column("tok/s (80 %)", decode, folds=False),
        column("prompt tok/s", prompt),
        column("J/token", joules),
    ]


def plan_command(row: Row, hardware_names: Sequence[str]) -> Command:
    """Return the command that makes a row's plan again: every choice in it is spelled out."""
    name = f"{row.name}:{row.option.model.quant}"
    machine = hardware_flags(hardware_names)
    return ("localllm", "plan", name, *machine, *policy_flags(row.option.policy))


def _params(row: Row) -> str:
    return format_count(row.option.model.n_params)


def _active(rows: Sequence[Row]) -> Iterator[Column]:
    """Parameters that a token passes, where a model has experts."""
    cells = tuple(
        format_count(row.n_params_active) if row.option.model.n_expert else "all" for row in rows
    )
    if set(cells) != {"all"}:
        yield Column(heading="active", cells=cells, right=True)


def _place(hardware: Hardware) -> str:
    name = printable(hardware.name)
    return f"this machine ({name})" if hardware.source == THIS_MACHINE else name


def _asked(policy: Policy, wish: Wish) -> str:
    words = [f"{_ORDERED_BY[wish.sort]} of what decodes at {format_rate(least_tok_s(policy))}"]
    words = [f"{words[0]} tok/s or more without a large loss"]
    if policy.max_j_per_token is not None:
        words.append(f"at most {format_rate(policy.max_j_per_token)} J per token")
    if wish.max_file_bytes is not None:
        words.append(f"files of at most {format_bytes(wish.max_file_bytes)}")
    return ", ".join(words)


def _same_shape(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.also:
            yield f"{row.name}: the same holds for {', '.join(row.also)}."


def _left_out(left_out: Sequence[Column], width: int) -> Iterator[str]:
    if left_out:
        names = ", ".join(column.heading for column in left_out)
        yield f"Not shown at {width} columns: {names}. --markdown and --json have them."


def _others(found: Recommendation) -> str:
    """What became of every model that has no row: nothing is left out silently."""
    n_rows = sum(1 + len(row.also) for row in found.rows)
    parts = [f"{n_rows} of {found.n_known} known models are listed"]
    if found.not_reached:
        parts.append(f"{found.not_reached} come after them (--limit)")
    if found.too_large:
        parts.append(f"{found.too_large} are too large")
    if found.too_slow:
        parts.append(f"{found.too_slow} too slow, or only with a large loss")
    return f"{'; '.join(parts)}. The order says nothing of how well a model answers."


def _estimates(version: str) -> str:
    return f"Estimates by localllm {version}, not measurements."
