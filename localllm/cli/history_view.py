"""The history as a person reads it, as a GitHub table, and as a document for scripts."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from localllm.cli.folding import Column, markdown, markdown_text
from localllm.core.policy import kv_label
from localllm.core.reconcile import (
    Accuracy,
    Reconciled,
    amount,
    difference,
    measured_text,
    percent,
    predicted_text,
    sentence,
)
from localllm.core.text import printable
from localllm.records.history import PastRun
from localllm.records.runs import KeptLoad
from localllm.records.summing import Sum, accuracies, memory, sums
from localllm.units import format_duration

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = "localllm.history/1"

NONE = "–"
"""What is not known."""

Line = tuple[str, str]
"""What a line is about, and its text."""


def print_history(console: Console, runs: Sequence[PastRun], *, n_found: int) -> None:
    """Print a block for each run, and how far predictions were off over all of them."""
    from rich.text import Text

    for run in runs:
        lines = list(block(run))
        width = max(len(name) for name, _ in lines)
        console.print(Text(printable(_title(run)), style="bold"), soft_wrap=True)
        for name, text in lines:
            head = f"  {name:<{width}}  "
            for index, part in enumerate(_wrapped(text, max(console.width - len(head), 30))):
                start = head if index == 0 else " " * len(head)
                console.print(Text.assemble((start, "dim"), part), soft_wrap=True)
        console.print()
    for text in summary(runs, n_found=n_found):
        console.print(Text(text))


_BEFORE_UNIT = re.compile(r"(?<=\d) (?=%|[KMGT]iB|tok/s|J/token|W\b)")
_HELD = "\N{NO-BREAK SPACE}"


def _wrapped(text: str, width: int) -> list[str]:
    """Break between words, and never between a figure and its unit."""
    held = _BEFORE_UNIT.sub(_HELD, printable(text))
    lines = textwrap.wrap(held, width, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_HELD, " ") for line in lines]


def block(run: PastRun) -> Iterator[Line]:
    """Yield the lines of a run: how it was placed, its memory, its speeds and its energy."""
    first = run.first
    load = next((record.load for record in run.records if record.load is not None), None)
    loaded = f", loaded in {format_duration(load.load_s)}" if load is not None else ""
    yield "plan", f"{_placement(run)}, context {first.plan.n_ctx:,}, KV {_kv(run)}{loaded}"
    if load is not None:
        yield from _memory_lines(load)
    found = sums(run)
    for total in found:
        counted = _counted(total) if _is_answers(total) else ""
        yield total.label, sentence(total.speed) + counted
        if total.j_per_token.measured is not None:
            yield "", _energy_line(total)
    yield from _unmetered(found)
    n_short = sum(
        record.kind == "answer" and not any(phase.is_telling for phase in record.phases)
        for record in run.records
    )
    if n_short:
        yield "short", f"{n_short:,} answer{'s' * (n_short != 1)} too short to be compared"
    held = dict.fromkeys(why for record in run.records for why in record.throttle)
    if held:
        hottest = max((r.temperature_c or 0.0 for r in run.records), default=0.0)
        heat = f", up to {hottest:.0f} °C" if hottest else ""
        yield "held back", f"{' + '.join(held)}{heat}"
    if first.plan.power_limit_w is not None:
        yield "estimates", f"for GPUs capped to {first.plan.power_limit_w:g} W"


def summary(runs: Sequence[PastRun], *, n_found: int) -> Iterator[str]:
    """Yield how far predictions were off over the runs that are shown, and what is not shown."""
    found = accuracies(runs)
    if found:
        parts = [f"{name} {_off(said)}" for name, said in found.items()]
        yield f"Median error of these predictions: {', '.join(parts)}."
    if n_found > len(runs):
        yield f"{len(runs):,} of {n_found:,} runs are shown: -n {n_found} shows all."


def as_markdown(runs: Sequence[PastRun], *, n_found: int, version: str) -> str:
    """Return the runs as a GitHub table: a row for each kind of work."""
    rows = [(run, total) for run in runs for total in sums(run) or (None,)]
    if not rows:
        return "No run was kept.\n"
    columns = [
        Column(heading="when", cells=tuple(_when(run) for run, _ in rows)),
        Column(heading="model", cells=tuple(_model(run) for run, _ in rows)),
        Column(heading="placement", cells=tuple(_placement(run) for run, _ in rows)),
        Column(heading="context", cells=tuple(f"{r.first.plan.n_ctx:,}" for r, _ in rows)),
        *_compared("memory", "planned", [memory(run) for run, _ in rows]),
        Column(heading="test", cells=tuple(NONE if t is None else t.label for _, t in rows)),
        *_compared("tok/s", "estimated", [t.speed if t else None for _, t in rows]),
        *_compared("J/token", "estimated", [t.j_per_token if t else None for _, t in rows]),
        Column(heading="whose", cells=tuple((t and t.scope) or NONE for _, t in rows)),
    ]
    lines = [markdown(columns), ""]
    lines += [f"- {markdown_text(text)}" for text in summary(runs, n_found=n_found)]
    machines = dict.fromkeys(_machine(run) for run in runs)
    lines += [f"- {markdown_text(text)}" for text in machines]
    return "\n".join([*lines, "", f"Kept by localllm {version}."]) + "\n"


def document(runs: Sequence[PastRun], *, n_found: int, version: str) -> dict[str, Any]:
    """Return the runs as JSON: every record as it was kept, and what each run came to."""
    return {
        "schema": SCHEMA,
        "version": version,
        "n_found": n_found,
        "runs": [
            {
                "run": run.first.run,
                "began": run.first.time,
                "ended": run.records[-1].time,
                "memory": _figure(memory(run)),
                "work": [_work(total) for total in sums(run)],
                "records": [asdict(record) for record in run.records],
            }
            for run in runs
        ],
        "accuracy": {name: asdict(said) for name, said in accuracies(runs).items()},
    }


def _work(total: Sum) -> Mapping[str, Any]:
    return {
        "label": total.label,
        "n_tokens": total.n_tokens,
        "n_parts": total.n_parts,
        "tok_s": _figure(total.speed),
        "j_per_token": _figure(total.j_per_token),
        "watts": _figure(total.watts),
        "gain": total.gain,
        "scope": total.scope,
        "sources": list(total.sources),
        "missing": list(total.missing),
    }


def _figure(figure: Reconciled | None) -> Mapping[str, Any] | None:
    if figure is None:
        return None
    return {**asdict(figure), "off": figure.off, "within_range": figure.within_range}


def _title(run: PastRun) -> str:
    return f"{_when(run)}  {_model(run)}"


def _when(run: PastRun) -> str:
    return f"{run.began.astimezone():%Y-%m-%d %H:%M}"


def _model(run: PastRun) -> str:
    model = run.first.model
    if not model.quant or model.quant.lower() in model.name.lower():
        return model.name
    return f"{model.name} {model.quant}"


def _placement(run: PastRun) -> str:
    plan, machine = run.first.plan, run.first.machine
    if not machine.devices or not plan.n_gpu_layers:
        return f"CPU, {plan.n_threads} thread{'s' * (plan.n_threads != 1)}"
    text = f"{plan.n_gpu_layers}/{plan.n_layer_total} layers on {' + '.join(machine.devices)}"
    n_host = plan.n_host_expert_layers
    return f"{text}, experts of {n_host} layers in RAM" if n_host else text


def _kv(run: PastRun) -> str:
    return kv_label(run.first.plan.type_k, run.first.plan.type_v)


def _machine(run: PastRun) -> str:
    """What the run ran on and with, for a table that leaves this machine."""
    first = run.first
    parts = [first.machine.cpu, *first.machine.products]
    if first.machine.driver:
        parts.append(f"driver {first.machine.driver}")
    if first.engine:
        parts.append(f"llama-cpp-python {first.engine}")
    return ", ".join([*parts, f"localllm {first.localllm}"])


def _memory_lines(load: KeptLoad) -> Iterator[Line]:
    if load.memory_unknown is not None:
        yield "memory", f"not measured: {load.memory_unknown}"
        return
    for row in load.memory:
        place = "RAM" if row.device == "host" else row.device
        yield place, sentence(row.reconciled)


def _is_answers(total: Sum) -> bool:
    return total.label in ("tg", "pp")


def _counted(total: Sum) -> str:
    return f", {total.n_tokens:,} tokens in {total.n_parts:,} answer{'s' * (total.n_parts != 1)}"


def _energy_line(total: Sum) -> str:
    """Joules per token, then whose watts by which meter."""
    parts = [sentence(total.j_per_token)]
    if total.watts.measured is not None:
        parts.append(f"{total.watts.measured:,.0f} W")
    gain = f" (± {total.gain:.0%})".replace("%", " %") if total.gain else ""
    parts.append(f"{total.scope} by {' + '.join(total.sources)}{gain}")
    return ", ".join([*parts, *total.missing])


def _unmetered(found: Sequence[Sum]) -> Iterator[Line]:
    """Why energy is missing, once for each reason."""
    for reason in dict.fromkeys(
        total.j_per_token.unmeasured for total in found if total.j_per_token.measured is None
    ):
        alike = [t for t in found if t.j_per_token.unmeasured == reason]
        estimates = [
            f"{total.label} {amount(total.j_per_token.predicted, 'J/token')}"
            for total in alike
            if total.j_per_token.predicted is not None
        ]
        estimated = f"; estimated {', '.join(estimates)}" if estimates else ""
        yield "power", f"not measured: {reason}{estimated}"


def _off(said: Accuracy) -> str:
    inside = f", {said.n_inside:,} of {said.n_ranged:,} in their range" if said.n_ranged else ""
    return f"{percent(said.median_off).lstrip('+')} ({said.n:,}{inside})"


def _compared(
    what: str, predicted: str, figures: Sequence[Reconciled | None]
) -> tuple[Column, Column, Column]:
    """Return the columns of one figure: predicted with its range, measured, how far apart."""

    def column(heading: str, text: Callable[[Reconciled], str]) -> Column:
        cells = tuple((text(figure) if figure else "") or NONE for figure in figures)
        return Column(heading=heading, cells=cells, right=True)

    return (
        column(f"{what} {predicted}", lambda figure: predicted_text(figure, unit=False)),
        column("measured", lambda figure: measured_text(figure, unit=False)),
        column("off", difference),
    )
