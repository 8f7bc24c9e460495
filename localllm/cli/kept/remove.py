"""``localllm rm``: free what models take, and nothing that another one needs."""

from __future__ import annotations

import shlex
from typing import Any

import click

from localllm.cli.completers import complete_kept
from localllm.cli.kept.asking import agreed, sure_option
from localllm.cli.options import Command, json_option
from localllm.cli.output import emit_json, result
from localllm.core.kept import Removal
from localllm.core.text import printable
from localllm.words.kept import removal_lines, removed_line

SCHEMA = "localllm.rm/1"

EXAMPLES = """\
\b
Examples:
  localllm rm bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M
  localllm rm user/repo                 (every quantisation of it)
  localllm rm NAME --dry-run
  localllm rm NAME --yes

Files that another revision or another model has too stay. What LM Studio, Ollama and llama.cpp
have fetched is theirs to delete. Exit code 5 says that a name is not here.
"""


@click.command("rm", cls=Command, epilog=EXAMPLES)
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_kept)
@click.option("--dry-run", is_flag=True, help="Show what would go, and delete nothing.")
@click.option("--force", is_flag=True, help="Delete what a running process uses, too.")
@sure_option
@json_option
def remove(names: tuple[str, ...], dry_run: bool, force: bool, yes: bool, as_json: bool) -> None:
    """Delete models that were fetched here.

    NAME is as localllm list prints it. What goes, what stays and what that frees is shown, and
    asked about once.
    """
    from localllm import keeping

    models = keeping.named_kept(names)
    removal = keeping.plan_removal(models, force=force)
    if not as_json:
        for line in removal_lines(removal):
            click.echo(printable(line), err=not dry_run)
    removed, freed_bytes = False, 0
    if not dry_run:
        command = f"localllm rm {shlex.join(names)} --yes"
        removed = yes or agreed("Delete?", command=command)
        if removed:
            freed_bytes = keeping.remove(removal, force=force)
    if as_json:
        document = removal_document(removal, dry_run=dry_run, removed=removed)
        emit_json(document | {"freed_bytes": freed_bytes if removed else removal.freed_bytes})
    elif removed:
        result(removed_line(freed_bytes))
    elif not dry_run:
        result("Nothing was deleted.")


def removal_document(removal: Removal, *, dry_run: bool, removed: bool) -> dict[str, Any]:
    """Return a removal as JSON."""
    from localllm.cli.kept.list_view import model_document

    return {
        "schema": SCHEMA,
        "dry_run": dry_run,
        "removed": removed,
        "freed_bytes": removal.freed_bytes,
        "shared_bytes": removal.shared_bytes,
        "shared_with": list(removal.shared_with),
        "models": [model_document(model) for model in removal.models],
        "delete": [str(path) for path in removal.delete],
    }
