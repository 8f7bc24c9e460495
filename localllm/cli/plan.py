"""``localllm plan``: what would go where, and why, before anything is loaded."""

from __future__ import annotations

import click

from localllm.cli.options import (
    Command,
    Option,
    complete_hardware,
    json_option,
    model_argument,
    planning_options,
)
from localllm.cli.output import does_not_fit, emit_json, stdout_console
from localllm.core.policy import Policy

EXAMPLES = """\
\b
Examples:
  localllm plan demo
  localllm plan model.gguf -c 32k --kv q8_0
  localllm plan model.gguf --hardware "2x rtx-4090" --json
  localllm plan model.gguf -ngl 20 --explain

Exit code 3 says that it does not fit; the plan is printed all the same.
"""


@click.command(cls=Command, epilog=EXAMPLES)
@model_argument
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
@json_option
@planning_options
def plan(model: str, names: tuple[str, ...], explain: bool, as_json: bool, policy: Policy) -> None:
    """Show what fits where, and why.

    MODEL is a path to a .gguf file, or demo. Nothing is loaded: the file's header is enough.
    """
    from localllm import session

    machine = session.hardware_named(*names) if names else None
    local = session.resolve_model(model)
    with session.Session(hardware=machine) as open_session:
        made = open_session.make_plan(local, policy)
    if as_json:
        from localllm.core.documents import plan_document

        emit_json(plan_document(made))
    else:
        from localllm.cli.plan_view import print_plan

        print_plan(stdout_console(), made, explain=explain)
    if made.verdict != "fits":
        raise does_not_fit(made)
