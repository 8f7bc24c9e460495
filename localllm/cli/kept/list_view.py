"""The models that are here, as a person reads them: a table, or two lines each where it is narrow.

Names are never cut: they are what the next command is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.text import Text

from localllm.cli.folding import GAP, Column, table
from localllm.cli.output import wrapped
from localllm.core.kept import KeptModel, Leftover
from localllm.core.text import printable
from localllm.units import format_bytes
from localllm.words.kept import FOLDERS, KEEPERS, Row, ago, left_over, verdict

if TYPE_CHECKING:
    from rich.console import Console

    from localllm.core.hardware import Hardware
    from localllm.core.plan import Plan

SCHEMA = "localllm.list/1"


def print_list(
    console: Console, rows: Sequence[Row], *, leftovers: Sequence[Leftover], now_s: float
) -> None:
    """Print the models, what they take together, and what could be done about the rest."""
    columns = _columns(rows, now_s)
    if sum(column.width + GAP for column in columns) - GAP <= console.width:
        console.print(table(columns))
    else:
        _print_stacked(console, columns)
    console.print()
    for line in summary(rows, leftovers):
        for part in wrapped(printable(line), console.width):
            console.print(Text(part), soft_wrap=True)


def summary(rows: Sequence[Row], leftovers: Sequence[Leftover]) -> Iterator[str]:
    """Yield what stands below the list."""
    n = len(rows)
    keepers = {row.model.keeper for row in rows}
    where = f", all in {FOLDERS[keepers.pop()]}" if len(keepers) == 1 else ""
    n_bytes = sum(row.model.n_bytes for row in rows)
    yield f"{n:,} model{'s' * (n != 1)}, {format_bytes(n_bytes)}{where}"
    plans = [row.plan for row in rows if row.plan is not None]
    if plans:
        contexts = {plan.n_ctx for plan in plans if plan.verdict == "fits"}
        context = f" for {contexts.pop():,} tokens of context" if len(contexts) == 1 else ""
        yield f"Plans are by formula{context}: speeds are estimates. localllm plan NAME shows one."
    for row in rows:
        model = row.model
        if row.problem is not None:
            yield f"{model.name} cannot be planned: {row.problem}."
        if not model.is_complete and model.repo is not None and model.can_be_removed:
            yield f"localllm pull {model.name} gets what is missing of it."
        if model.note is not None:
            yield model.note
    yield from left_over(leftovers)


def document(
    rows: Sequence[Row],
    *,
    leftovers: Sequence[Leftover],
    notes: Sequence[str],
    hardware: Hardware | None,
    version: str,
) -> dict[str, Any]:
    """Return the list as JSON. ``hardware``: what was planned for; None without plans."""
    return {
        "schema": SCHEMA,
        "localllm": version,
        "hardware": {"name": hardware.name, "source": hardware.source} if hardware else None,
        "estimate": True,
        "n_bytes": sum(row.model.n_bytes for row in rows),
        "models": [
            {
                **model_document(row.model),
                "plan": _plan_part(row.plan) if row.plan else None,
                "no_plan": row.problem,
            }
            for row in rows
        ],
        "leftovers": {"n": len(leftovers), "n_bytes": sum(each.n_bytes for each in leftovers)},
        "notes": list(notes),
    }


def model_document(model: KeptModel) -> dict[str, Any]:
    """Return one kept model as JSON: the same in every document that has some."""
    return {
        "name": model.name,
        "keeper": model.keeper,
        "repo": model.repo,
        "commit": model.commit,
        "quant": model.quant,
        "n_bytes": model.n_bytes,
        "n_parts": model.n_parts,
        "complete": model.is_complete,
        "current": model.is_current,
        "removable": model.can_be_removed,
        "last_used": _date(model.last_used_s),
        "files": [asdict(file) | {"path": str(file.path)} for file in model.files],
        "missing": [str(path) for path in model.missing],
        "note": model.note,
    }


def _date(at_s: float) -> str | None:
    """A time as JSON; None for one that a calendar does not have, as a copied disk may say."""
    try:
        return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None


def _plan_part(plan: Plan) -> dict[str, Any]:
    speed = plan.speed
    return {
        "verdict": plan.verdict,
        "basis": plan.basis,
        "n_ctx": plan.n_ctx,
        "n_gpu_layers": plan.n_gpu_layers,
        "n_layer_total": plan.n_layer_total,
        "tg_tok_s": speed.tg_tok_s if speed else None,
        "tg_low": speed.tg_low if speed else None,
        "tg_high": speed.tg_high if speed else None,
        "short_of": [
            {"place": row.name, "n_bytes": -row.spare_bytes}
            for row in plan.devices
            if row.spare_bytes is not None and row.spare_bytes < 0
        ],
    }


def _columns(rows: Sequence[Row], now_s: float) -> list[Column]:
    """Return the columns that say something that neither the name nor the last line does."""
    models = [row.model for row in rows]
    columns = [
        Column(heading="name", cells=tuple(_name(model) for model in models), bold=True),
        Column(
            heading="size", cells=tuple(format_bytes(model.n_bytes) for model in models), right=True
        ),
        Column(heading="quant", cells=tuple(printable(model.quant) for model in models)),
        Column(heading="used", cells=tuple(ago(now_s - model.last_used_s) for model in models)),
        Column(heading="where", cells=tuple(KEEPERS[model.keeper] for model in models)),
        Column(heading="plan", cells=tuple(printable(verdict(row)) for row in rows)),
    ]
    without = set()
    if all(model.name.upper().endswith(f":{model.quant.upper()}") for model in models):
        without.add("quant")
    if len({model.keeper for model in models}) == 1:
        without.add("where")
    if not any(columns[-1].cells):
        without.add("plan")
    return [column for column in columns if column.heading not in without]


def _name(model: KeptModel) -> str:
    return printable(model.name) + ("" if model.is_current else " (no branch or tag)")


def _print_stacked(console: Console, columns: Sequence[Column]) -> None:
    """The name on a line of its own, the rest below it in columns."""
    names, *rest = columns
    for index, name in enumerate(names.cells):
        console.print(Text(name, style="bold"), soft_wrap=True)
        cells = [
            f"{c.cells[index]:>{c.width}}" if c.right else f"{c.cells[index]:<{c.width}}"
            for c in rest
        ]
        console.print(Text("  " + (" " * GAP).join(cells).rstrip()), soft_wrap=True)
