"""``localllm plan``: what would go where, and why, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import click

from localllm.cli.options import (
    Command,
    Option,
    complete_hardware,
    complete_plannable,
    json_option,
    planning_options,
)
from localllm.cli.output import LiveLine, does_not_fit, emit_json, stdout_console
from localllm.core.policy import Policy
from localllm.errors import EngineError
from localllm.units import format_bytes

EXAMPLES = """\
\b
Examples:
  localllm plan demo
  localllm plan llama-3-70b --hardware rtx-4090
  localllm plan llama-3-70b:Q5_K_M --ctx max
  localllm plan https://example.org/model-00001-of-00003.gguf
  localllm plan model.gguf -c 32k --kv q8_0
  localllm plan model.gguf --hardware "2x rtx-4090" --json
  localllm plan model.gguf -ngl 20 --explain

Exit code 3 says that it does not fit, 6 that llama.cpp would refuse to run it; the plan is printed
all the same.
"""


@click.command(cls=Command, epilog=EXAMPLES)
@click.argument("model", metavar="MODEL", shell_complete=complete_plannable)
@click.option(
    "--hardware",
    "names",
    cls=Option,
    multiple=True,
    metavar="NAME|FILE",
    envvar="LOCALLLM_HARDWARE",
    shell_complete=complete_hardware,
    help="Plan for another machine: a profile (rtx-4090, 2x rtx-4090; repeat it to combine them), "
    "or a file that localllm hardware --json wrote there. [default: this machine]",
)
@click.option("--explain", is_flag=True, help="Show how the figures were counted.")
@click.option(
    "--basis",
    cls=Option,
    type=click.Choice(["auto", "exact", "formula"]),
    default="auto",
    envvar="LOCALLLM_BASIS",
    help="exact asks llama.cpp's own allocator, formula does without; auto is exact where that is "
    "possible. [default: auto]",
)
@json_option
@planning_options
def plan(
    model: str,
    names: tuple[str, ...],
    explain: bool,
    basis: Literal["auto", "exact", "formula"],
    as_json: bool,
    policy: Policy,
) -> None:
    """Show what fits where, and why.

    MODEL is a path to a .gguf file, its address (https://...), a known model's name (llama-3-70b,
    llama-3-70b:Q5_K_M) or demo. Nothing is loaded, and nothing but a header is fetched.
    """
    from localllm import session
    from localllm.cli.signals import ended_by_signals

    machine = session.hardware_named(*names) if names else None
    with ended_by_signals(), session.Session(hardware=machine, basis=basis) as open_session:
        open_session.prepare_plans()
        with LiveLine() as line:
            found = session.resolve_for_plan(model, on_reading=_progress(line))
        made = open_session.make_plan(found, policy)
    if as_json:
        from localllm.core.documents import plan_document

        emit_json(plan_document(made))
    else:
        from localllm.cli.plan_view import print_plan

        print_plan(stdout_console(), made, explain=explain)
    if made.verdict != "fits":
        raise does_not_fit(made)
    if made.refusal is not None:
        raise EngineError(
            f"It fits, but the installed llama.cpp would not run it ({made.refusal.rstrip('.')}).",
            hint="Try other cache types or --flash-attn; else it takes another build of llama.cpp.",
        )


def _progress(line: LiveLine) -> Callable[[int, str | None], None]:
    def draw(n_bytes: int, waiting_for: str | None) -> None:
        waiting = f", waiting: {waiting_for}" if waiting_for else ""
        line.draw(f"reading the model's header: {format_bytes(n_bytes)}{waiting}")

    return draw
