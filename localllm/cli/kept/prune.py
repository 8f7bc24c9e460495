"""``localllm prune``: what downloads have left in the cache that no model needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.kept.asking import agreed, sure_option
from localllm.cli.options import Command, Option, json_option, value_option
from localllm.cli.output import emit_json, result
from localllm.core.kept import Leftover, LeftoverKind, Pruning, Removal
from localllm.core.text import printable
from localllm.units import format_bytes
from localllm.words.kept import ago

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA = "localllm.prune/1"

EXAMPLES = """\
\b
Examples:
  localllm prune --dry-run
  localllm prune --older-than 7d
  localllm prune --revisions --yes

A partial file is a download that localllm pull continues: deleted, it begins again. What another
process has open or locked is left. Only the Hugging Face cache is tidied.
"""

_KINDS: dict[LeftoverKind, str] = {
    "partial": "partial",
    "corrupt": "corrupt",
    "orphan": "orphan",
    "dangling": "dangling link",
    "temporary": "temporary",
}
_HASH = re.compile(r"([0-9a-f]{12})[0-9a-f]{28,52}")
_SPAN = re.compile(r"(\d{1,6})\s*([mhdw])")
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_age(text: str) -> float:
    """Read an age in seconds: ``45m``, ``12h``, ``7d``, ``2w``."""
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError("is no age: write 12h, 7d or 2w")
    return float(match[1]) * _SECONDS[match[2]]


@click.command(cls=Command, epilog=EXAMPLES)
@click.option(
    "--revisions",
    is_flag=True,
    cls=Option,
    help="Delete revisions as well that no branch or tag points to any more.",
)
@value_option(
    "--older-than",
    "older_than_s",
    parse=parse_age,
    metavar="AGE",
    words=("1d", "7d", "4w"),
    help="Only what was last written so long ago: 12h, 7d, 2w.",
)
@click.option("--dry-run", is_flag=True, help="Show what would go, and delete nothing.")
@sure_option
@json_option
def prune(
    revisions: bool, older_than_s: float | None, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Delete what downloads left over in the cache.

    That is partial and corrupt files, contents that no revision has any more, and dead links.
    """
    from localllm import keeping

    pruning = keeping.plan_prune(superseded=revisions, older_than_s=older_than_s or 0.0)
    is_empty = not pruning.leftovers and not pruning.superseded.delete
    if not as_json:
        for line in pruning_lines(pruning):
            click.echo(printable(line), err=not dry_run and not is_empty)
    pruned, freed_bytes = False, pruning.freed_bytes
    if not dry_run and not is_empty:
        pruned = yes or agreed("Delete?", command="localllm prune --yes")
        if pruned:
            freed_bytes = keeping.prune(pruning)
    if as_json:
        document = pruning_document(pruning, dry_run=dry_run, pruned=pruned)
        emit_json(document | {"freed_bytes": freed_bytes})
    elif pruned:
        result(f"Deleted: {format_bytes(freed_bytes)} are free again.")
    elif not dry_run and not is_empty:
        result("Nothing was deleted.")


def pruning_lines(pruning: Pruning) -> Iterator[str]:
    """Yield every file that goes with its size, what stays, and the sum."""
    yield from _listed(pruning.leftovers)
    unnamed = revisions_of(pruning.superseded)
    if unnamed:
        size = format_bytes(pruning.superseded.freed_bytes)
        yield f"{'revision':<13}  {size:>10}  {', '.join(unnamed)}"
        yield (
            f"No branch or tag points to {'these revisions' if unnamed[1:] else 'this revision'}:"
            f" {'they were' if unnamed[1:] else 'it was'} replaced, or fetched by commit."
        )
    elif pruning.superseded.delete:
        n = len(pruning.superseded.delete)
        yield f"{n:,} empty folder{'s' * (n > 1)} or dead reference{'s' * (n > 1)}"
    if pruning.leftovers or pruning.superseded.delete:
        yield f"Deleting frees {format_bytes(pruning.freed_bytes)}."
    else:
        yield "Nothing is left over in the cache."
    n_kept = len(pruning.kept_back)
    n_used = sum(each.in_use for each in pruning.kept_back)
    if n_used:
        yield f"{n_used:,} in use {'are' if n_used > 1 else 'is'} left."
    if n_kept > n_used:
        yield f"{n_kept - n_used:,} younger {'ones are' if n_kept - n_used > 1 else 'one is'} left."


def revisions_of(removal: Removal) -> list[str]:
    """Return the revisions that a removal takes files of, as ``user/repo@`` and their commits."""
    found = set()
    for path in removal.delete:
        match path.relative_to(removal.root).parts:
            case [folder, "snapshots", commit, _, *_]:
                repo = folder.removeprefix("models--").replace("--", "/", 1)
                found.add(f"{repo}@{commit[:12]}")
    return sorted(found)


def pruning_document(pruning: Pruning, *, dry_run: bool, pruned: bool) -> dict[str, Any]:
    """Return a pruning as JSON."""

    def part(leftover: Leftover) -> dict[str, Any]:
        return asdict(leftover) | {"path": str(leftover.path)}

    return {
        "schema": SCHEMA,
        "dry_run": dry_run,
        "pruned": pruned,
        "freed_bytes": pruning.freed_bytes,
        "leftovers": [part(each) for each in pruning.leftovers],
        "kept_back": [part(each) for each in pruning.kept_back],
        "revisions": revisions_of(pruning.superseded),
        "delete": [str(path) for path in pruning.superseded.delete],
    }


def _listed(leftovers: Sequence[Leftover]) -> Iterator[str]:
    for each in sorted(leftovers, key=lambda one: (-one.n_bytes, str(one.path))):
        size, shown = format_bytes(each.n_bytes), _HASH.sub(r"\1...", each.path.name)
        yield (
            f"{_KINDS[each.kind]:<13}  {size:>10}  {each.repo or 'shared'}, {ago(each.age_s)}:"
            f" {shown}"
        )
