"""``localllm list``: the models that are here, and how each would run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from localllm import __version__
from localllm.cli.completers import complete_kept
from localllm.cli.options import Command, Option, json_option
from localllm.cli.output import LiveLine, emit_json, note, result, stdout_console
from localllm.core.text import printable

if TYPE_CHECKING:
    from localllm.core.kept import KeptModel
    from localllm.session import Session
    from localllm.words.kept import Row, Sort

EXAMPLES = """\
\b
Examples:
  localllm list
  localllm list qwen q4
  localllm list --sort size
  localllm list --no-plan --json

Fetched models lie in the shared Hugging Face cache (HF_HOME); what LM Studio, Ollama and llama.cpp
have fetched is listed as well, and only read.
"""


@click.command("list", cls=Command, epilog=EXAMPLES)
@click.argument("words", metavar="[WORD]...", nargs=-1, shell_complete=complete_kept)
@click.option(
    "--sort",
    cls=Option,
    type=click.Choice(["name", "size", "used"]),
    default="name",
    help="Order by name, the largest first, or the one used last first. [default: name]",
)
@click.option("--no-plan", is_flag=True, help="Plan nothing: no header is read.")
@json_option
def list_command(words: tuple[str, ...], sort: Sort, no_plan: bool, as_json: bool) -> None:
    """List the models that are here, and how each would run.

    WORDs narrow it down: words of a name, a quantisation or a keeper. Plans are by formula, from
    the headers alone.
    """
    from localllm import keeping
    from localllm.cli.kept import list_view as view
    from localllm.words.kept import Row, holds, left_over, ordered

    inventory = keeping.kept_models()
    found = [model for model in inventory.models if holds(model, words)]
    hardware = None
    if no_plan:
        rows = [Row(model=model) for model in found]
    else:
        from localllm import session

        with session.Session(basis="formula") as open_session:
            rows = _planned(open_session, found)
            hardware = open_session.hardware if found else None
    rows = ordered(rows, sort)
    leftovers = keeping.leftovers()
    if as_json:
        emit_json(
            view.document(
                rows,
                leftovers=leftovers,
                notes=inventory.notes,
                hardware=hardware,
                version=__version__,
            )
        )
        return
    if rows:
        view.print_list(stdout_console(), rows, leftovers=leftovers, now_s=time.time())
    else:
        result(_nothing(inventory.models, words))
        for line in left_over(leftovers):
            result(line)
    for text in inventory.notes:
        note(text)


def _planned(open_session: Session, models: Sequence[KeptModel]) -> list[Row]:
    from localllm import keeping
    from localllm.core.policy import Policy
    from localllm.errors import LocalLLMError
    from localllm.words.kept import Row

    rows = []
    with LiveLine() as line:
        for number, model in enumerate(models, 1):
            line.draw(f"planning {number} of {len(models)}: {printable(model.name)}")
            if not model.is_complete:
                rows.append(Row(model=model))
                continue
            try:
                plan = open_session.make_plan(keeping.kept_model(model), Policy())
            except LocalLLMError as error:
                rows.append(Row(model=model, problem=error.message.rstrip(".")))
            else:
                rows.append(Row(model=model, plan=plan))
    return rows


def _nothing(models: Sequence[KeptModel], words: Sequence[str]) -> str:
    if models and words:
        return f"None of the {len(models):,} models here is like that. localllm list shows them."
    return (
        "No model is here yet. localllm chat NAME fetches one and runs it, localllm pull NAME only"
        " fetches; localllm recommend names those that this machine runs well."
    )
