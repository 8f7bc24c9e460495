"""``localllm history``: what was run here, as it was predicted and as it was measured."""

from __future__ import annotations

import re
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from localllm import __version__
from localllm.cli.completers import items
from localllm.cli.options import Command, Option, json_option, markdown_option, value_option
from localllm.cli.output import check_one_format, emit_json, note, result, stdout_console
from localllm.core.text import printable
from localllm.errors import UsageError
from localllm.words.parse import parse_count

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

LIMIT = 10

EXAMPLES = """\
\b
Examples:
  localllm history
  localllm history llama-3-8b --since 7d
  localllm history -n 1 --json
  localllm history --markdown > runs.md
  localllm history --forget

A run is a load and what was asked of the loaded model: its answers together, each bench test by
itself. Speeds, sizes and settings are kept, never text; LOCALLLM_MEASUREMENTS=off keeps nothing.
"""

_SPAN = re.compile(r"(\d{1,6})\s*([mhdw])")
_SPANS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_since(text: str) -> datetime:
    """Read a moment: ``45m``, ``12h``, ``7d``, ``2w`` ago, ``today``, a date, a date and a time.

    What names no offset from UTC is of this machine's time zone.
    """
    now = datetime.now().astimezone()
    word = text.strip().lower()
    if word == "today":
        return now.replace(hour=0, minute=0, second=0, microsecond=0)
    span = _SPAN.fullmatch(word)
    try:
        if span is not None:
            return now - timedelta(**{_SPANS[span[2]]: int(span[1])})
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise ValueError("is no time: write 12h, 7d, today or 2026-11-21") from None


def complete_past(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the names of the models that were run."""
    from localllm import session
    from localllm.errors import LocalLLMError
    from localllm.records.history import Sought

    try:
        found = session.past_runs(Sought())
    except LocalLLMError:
        return []
    names = dict.fromkeys(printable(run.first.model.name) for run in found)
    return items(name for name in names if name.startswith(incomplete))


@click.command(cls=Command, epilog=EXAMPLES)
@click.argument("words", metavar="[MODEL]...", nargs=-1, shell_complete=complete_past)
@value_option(
    "-n",
    "--limit",
    parse=parse_count,
    metavar="N",
    help=f"Runs at most. [default: {LIMIT}]",
)
@value_option(
    "--since",
    parse=parse_since,
    metavar="TIME",
    words=("today", "24h", "7d", "4w"),
    help="Only runs after this: 12h, 7d, 2w, today, 2026-11-21.",
)
@markdown_option
@json_option
@click.option(
    "--forget",
    "forgets",
    is_flag=True,
    cls=Option,
    help="Delete all that was measured here, after a question.",
)
@click.option("--yes", "sure", is_flag=True, cls=Option, help="Forget without the question.")
@click.pass_context
def history(
    ctx: click.Context,
    words: tuple[str, ...],
    limit: int | None,
    since: datetime | None,
    as_markdown: bool,
    as_json: bool,
    forgets: bool,
    sure: bool,
) -> None:
    """Show what was run here: predicted beside measured.

    The run used last comes first: memory, tokens/s and joules per token as planned and as they
    came out, and at the end how far predictions were off. MODEL narrows it down: words of a
    model's name or quantisation, or its file.
    """
    check_one_format(as_json=as_json, as_markdown=as_markdown)
    if forgets:
        narrowing = [name for name in ("limit", "since") if _is_typed(ctx, name)]
        if words or narrowing or as_markdown or as_json:
            raise UsageError(
                "--forget deletes all that was measured, not a part of it.",
                hint="Leave out MODEL and the other options.",
            )
        _forget(sure=sure)
        return
    from localllm import session
    from localllm.cli import history_view as view
    from localllm.records.history import Sought

    sought = Sought(words=tuple(part for word in words for part in _parts(word)), since=since)
    found = session.past_runs(sought)
    shown = found[: limit or LIMIT]
    if as_json:
        emit_json(view.document(shown, n_found=len(found), version=__version__))
    elif as_markdown:
        click.echo(view.as_markdown(shown, n_found=len(found), version=__version__), nl=False)
    elif shown:
        view.print_history(stdout_console(), shown, n_found=len(found))
    else:
        result(_nothing(narrowed=bool(words or since)))


def _is_typed(ctx: click.Context, name: str) -> bool:
    """Whether an option was given here, and not by its environment variable."""
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _parts(word: str) -> list[str]:
    """A model as it may be named elsewhere, in words to look for: a path, ``NAME:QUANT``."""
    if word.lower().endswith(".gguf"):
        return [Path(word).stem]
    return [part for part in word.split(":") if part]


def _nothing(*, narrowed: bool) -> str:
    from localllm.records.measurements import VARIABLE, measurements_wanted

    if narrowed:
        return "No run that was kept is like that. localllm history shows them all."
    if not measurements_wanted():
        return f"Nothing was kept, and nothing is: {VARIABLE} is off."
    return "Nothing was kept yet. What localllm chat and localllm bench measure will be shown here."


def _forget(*, sure: bool) -> None:
    """Delete what was measured, after saying what that is."""
    from localllm import session

    files = session.kept_files()
    if not files:
        result("Nothing was kept that could be forgotten.")
        return
    each = [f"{kept.what} ({kept.n:,} line{'s' * (kept.n != 1)}, {kept.path})" for kept in files]
    note(f"This deletes {', and '.join(each)}.")
    if not sure and not _agreed():
        result("Nothing was deleted.")
        return
    session.forget(files)
    result("Forgotten. Plans are by formula alone until more is measured.")


def _agreed() -> bool:
    """Ask; where nobody can be asked, refuse."""
    if not sys.stdin.isatty():
        raise UsageError(
            "Nobody can be asked: standard input is no terminal.",
            hint="localllm history --forget --yes deletes without asking.",
        )
    return click.confirm("Delete?", default=False, err=True)
