"""``localllm pull``: a model fetched and verified, and not run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.options import (
    Command,
    complete_plannable,
    json_option,
    offline_option,
    planning_options,
    yes_option,
)
from localllm.cli.output import emit_json, note, result
from localllm.core.policy import Policy
from localllm.core.text import printable
from localllm.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localllm.choosing import Decided
    from localllm.core.fetching import ToFetch
    from localllm.session import Session

SCHEMA = "localllm.pull/1"

EXAMPLES = """\
\b
Examples:
  localllm pull llama-3-8b
  localllm pull bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M
  localllm pull user/repo@v1.0:Q5_K_M --yes
  localllm pull llama-3-70b --quant IQ4_XS
  llama-server -m "$(localllm pull llama-3-8b)"

Standard output gets the path of the model's file, of a split one its first part. A download that
is stopped goes on where it was with the same command. Exit code 4 says that the repository is gated
or private, 5 that there is no such model, 7 that what came is not what the Hub names.
"""


@click.command(cls=Command, epilog=EXAMPLES)
@click.argument("model", metavar="NAME", shell_complete=complete_plannable)
@click.option("--fresh", is_flag=True, help="Ask the Hub for a newer one even if it is here.")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched; fetch headers only.")
@yes_option
@offline_option
@json_option
@planning_options
def pull(model: str, fresh: bool, dry_run: bool, yes: bool, as_json: bool, policy: Policy) -> None:
    """Fetch a model and verify it, without running it.

    It comes into the shared Hugging Face cache. NAME is a known model (llama-3-70b,
    llama-3-70b:Q5_K_M), a repository on the Hub (user/repo:Q4_K_M) or its address. Where it leaves
    the quantisation open, it is chosen for this machine.
    """
    from localllm import session
    from localllm.cli.obtaining import again, download, look, tell_choice
    from localllm.cli.signals import ended_by_signals

    with ended_by_signals(), session.Session(basis="formula") as open_session:
        decided = look(open_session, model, policy, fresh=fresh, mends=True)
        tell_choice(decided)
        wanted = decided.fetch
        if wanted is None:
            found = decided.model
            assert isinstance(found, session.LocalModel), "what needs no download is here"
        elif dry_run:
            warn_of_the_plan(open_session, decided)
            would_fetch(wanted, as_json=as_json)
            return
        else:
            warn_of_the_plan(open_session, decided)
            command = again("pull", model, decided)
            found = download(open_session, wanted, yes=yes, command=command)
    name = decided.name or model
    if as_json:
        emit_json(document(name, found.paths, wanted, is_dry_run=dry_run))
        return
    if wanted is None:
        size = format_bytes(found.spec.file_bytes)
        note(f"{printable(name)} is here ({size}).")
    result(printable(str(found.paths[0])))


def would_fetch(wanted: ToFetch, *, as_json: bool) -> None:
    """Print what a download would be."""
    if as_json:
        emit_json(document(wanted.name, (), wanted, is_dry_run=True))
        return
    from localllm.words.fetching import cost_of

    result(f"{printable(wanted.name)}: {cost_of(wanted)}")
    for file in wanted.files:
        result(f"  {printable(file.path)}  {format_bytes(file.n_bytes)}")


def warn_of_the_plan(session: Session, decided: Decided) -> None:
    """Say where it would not run here: it may be meant for another machine."""
    from localllm.words.fetching import not_fitting

    text = not_fitting(session.plan_decided(decided))
    if text is not None:
        note(text)


def document(
    name: str, paths: Sequence[Path], fetched: ToFetch | None, *, is_dry_run: bool = False
) -> dict[str, Any]:
    """Return what is here now as JSON, or would be fetched where no ``paths`` are.

    ``fetched`` is None where it was here before.
    """
    return {
        "schema": SCHEMA,
        "name": name,
        "was_here": fetched is None,
        "repo": fetched.repo if fetched else None,
        "revision": fetched.revision if fetched else None,
        "commit": fetched.commit if fetched else None,
        "quant": fetched.quant if fetched else None,
        "n_bytes": fetched.n_bytes if fetched else sum(path.stat().st_size for path in paths),
        "fetched_bytes": fetched.left_bytes if fetched else 0,
        "is_dry_run": is_dry_run,
        "files": [str(path) for path in paths],
    }
