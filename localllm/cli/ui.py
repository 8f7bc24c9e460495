"""``localllm ui``, and ``localllm`` alone at a terminal: the terminal UI."""

from __future__ import annotations

import os
import sys

import click

from localllm.cli.options import (
    Command,
    complete_plannable,
    hardware_option,
    offline_option,
    planning_options,
)
from localllm.core.policy import Policy
from localllm.errors import UsageError


@click.command(cls=Command)
@click.argument("model", required=False, metavar="[MODEL]", shell_complete=complete_plannable)
@hardware_option(
    help="Begin with another machine: a profile (rtx-4090, 2x rtx-4090; repeat it to combine "
    "them), or a file that localllm hardware --json wrote there. [default: this machine]",
)
@offline_option
@planning_options
def ui(model: str | None, names: tuple[str, ...], policy: Policy) -> None:
    """Open the terminal UI, as localllm alone does.

    It begins at MODEL's plan if one is named. See your machine, a model, its plan and its run;
    change the context and watch the layers move; try other hardware; then talk.

    \\b
    Examples:
      localllm
      localllm ui llama-3-70b
      localllm ui llama-3-70b --hardware a100-pcie-80gb --ctx 32k
    """
    if not at_a_terminal():
        raise UsageError(
            "The terminal UI needs a terminal, and this is none.",
            hint="localllm --help lists the commands that scripts use.",
        )
    if names:
        from localllm.session import hardware_named

        hardware_named(*names)  # an unknown name ends here, not in the UI
    from localllm.tui.start import run
    from localllm.tui.subject import Subject

    subject = Subject(name=model, wishes=policy, machines=names)
    run(subject, place="home" if model is None else "plan")


def at_a_terminal() -> bool:
    """Whether screens can be drawn and keys read here."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
