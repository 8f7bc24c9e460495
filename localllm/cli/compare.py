"""``localllm compare``: one model on several machines, before anything is downloaded or bought."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from localllm import __version__
from localllm.cli.options import (
    Option,
    complete_plannable,
    hardware_option,
    json_option,
    markdown_option,
    offline_option,
    planning_options,
)
from localllm.cli.output import (
    LiveLine,
    check_one_format,
    emit_json,
    stdout_console,
    unicode_output,
)
from localllm.cli.remembering import Remembering, command_line
from localllm.core.policy import Policy
from localllm.errors import DoesNotFitError, UsageError

if TYPE_CHECKING:
    from localllm.core.comparison import Entry, Machine
    from localllm.planning import Plannable

DEFAULT_MACHINES = (
    "desktop-ddr5",
    "rtx-4090",
    "2x rtx-4090",
    "a100-pcie-40gb",
    "a100-pcie-80gb",
    "h100-sxm5-80gb",
)
"""From what is on many desks to what is rented. Of the H100s the SXM5: it is what most clouds
rent, and its memory is 1.7 times as fast as that of the PCIe card."""

EXAMPLES = """\
\b
Examples:
  localllm compare llama-3-70b
  localllm compare qwen3-30b-a3b --hardware rtx-3090 --hardware "2x rtx-3090"
  localllm compare llama-3-70b --hardware rtx-4090+rtx-3090+epyc-9654 -c 4k
  localllm compare llama-3-8b --quant all
  localllm compare llama-3-70b --price-hour 0.75 --hardware a100-pcie-80gb
  localllm compare llama-3-70b --plot speeds.svg --markdown > speeds.md

Every --hardware is one machine; + joins parts to one. All by formula, so in a second or two. On a
narrow terminal columns are left out in this order: loss, prompt speed, context, watts,
joules, KV type, cost, quantisation; the page says so, and --markdown and --json have all of them.

Exit code 3 says that it fits none of the machines.
"""


@click.command(cls=Remembering, epilog=EXAMPLES)
@click.argument("model", metavar="MODEL", shell_complete=complete_plannable)
@hardware_option(
    help="A machine to compare; repeat it for more. A profile (rtx-4090, 2x rtx-4090), parts "
    "joined by + (rtx-4090+epyc-9654), or a file that localllm hardware --json wrote. Commas "
    "separate machines too. "
    "[default: this machine, " + ", ".join(DEFAULT_MACHINES) + "]",
)
@markdown_option
@click.option(
    "--plot",
    "picture",
    cls=Option,
    metavar="FILE.svg",
    type=click.Path(path_type=Path),
    help="Write a picture as well.",
)
@offline_option
@json_option
@planning_options
@click.pass_context
def compare(
    ctx: click.Context,
    model: str,
    names: tuple[str, ...],
    as_markdown: bool,
    picture: Path | None,
    as_json: bool,
    policy: Policy,
) -> None:
    """Compare machines for one model: what fits, how fast, how hungry.

    MODEL is what localllm plan takes. Where its name leaves the quantisation open (llama-3-70b),
    each machine gets the best for it; --quant all prints the speeds of all.
    """
    from dataclasses import replace

    from localllm import session
    from localllm.cli import compare_grid as grid_view
    from localllm.cli import compare_view as view
    from localllm.cli.compare_cells import Asked
    from localllm.cli.plot import check_target, svg, write_picture
    from localllm.core import comparison

    quant, policy = policy.quant, replace(policy, quant=None)
    every = quant == "ALL"
    if picture is not None:
        check_target(picture)
    check_one_format(as_json=as_json, as_markdown=as_markdown)
    if every and picture is not None:
        raise UsageError(
            "--plot draws one bar per machine, and --quant all has many.",
            hint="Leave out --quant, or name one quantisation.",
        )
    with LiveLine() as line:
        line.draw("reading the model's header")
        machines = [*_machines(names)]
        found = _found(model, replace(policy, quant=None if every else quant), machines[0], line)
        line.draw("planning each machine")
        models = session.model_variants(model, found, quant=quant)
        if not session.leaves_open(model, found, replace(policy, quant=quant)):
            policy = policy.with_usual_kv()
        asked = Asked(
            title=models[0].name,
            n_params=models[0].n_params,
            depth=policy.depth,
            prices=policy.prices,
            version=__version__,
            command=command_line(ctx),
        )
        grid = (
            comparison.compare_each(models, machines, policy)
            if every
            else (comparison.compare(models, machines, policy),)
        )
    if picture is not None:
        write_picture(picture, svg(view.figure(asked, grid[0])))
    if as_json:
        rows = [entry for entries in zip(*grid, strict=True) for entry in entries]
        emit_json(comparison.comparison_document(rows, version=__version__, command=asked.command))
    elif as_markdown:
        text = (
            grid_view.grid_as_markdown(asked, grid) if every else view.as_markdown(asked, grid[0])
        )
        click.echo(text, nl=False)
    else:
        console = stdout_console()
        if every:
            grid_view.print_grid(console, asked, grid, unicode=unicode_output())
        else:
            view.print_comparison(console, asked, grid[0])
    if not any(entry.fits for entries in grid for entry in entries):
        raise _fits_nowhere(model, grid)


def _found(model: str, policy: Policy, machine: Machine, line: LiveLine) -> Plannable:
    """The model; a repository's is in the quantisation that is best for the first machine."""
    from localllm import session
    from localllm.cli.obtaining import watch_on

    with session.Session(hardware=machine.hardware) as first:
        return first.plannable(model, policy, watch=watch_on(line))


def _machines(names: Sequence[str]) -> Iterator[Machine]:
    from localllm import session
    from localllm.core.comparison import Machine
    from localllm.core.hardware import THIS_MACHINE

    if not names:
        with session.Session() as here:
            yield Machine(label=THIS_MACHINE, hardware=here.hardware, calibration=here.calibration)
    for name in [one for text in names for one in _split(text)] or DEFAULT_MACHINES:
        hardware = session.hardware_named(name)
        yield Machine(label=hardware.name, hardware=hardware)


def _split(text: str) -> list[str]:
    """Machines separated by commas, as LOCALLLM_HARDWARE names several; a path may hold commas."""
    if text.lower().endswith(".json") and "," in text and Path(text).is_file():
        return [text]
    return [part.strip() for part in text.split(",") if part.strip()] or [text]


def _fits_nowhere(model: str, grid: Sequence[Sequence[Entry]]) -> DoesNotFitError:
    from localllm.cli.compare_cells import lacking

    planned = [entry for entries in grid for entry in entries if entry.option]
    nearest = min(planned, key=lambda entry: sum(s.n_bytes for s in entry.shortages))
    assert nearest.option is not None
    quant = nearest.option.model.quant
    return DoesNotFitError(
        f"{model} fits none of these machines: {nearest.machine.label} comes nearest, and in "
        f"{quant} it is short of {lacking(nearest.shortages)}.",
        hint="localllm recommend --hardware NAME lists what a machine runs well.",
    )
