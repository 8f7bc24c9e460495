"""``localllm recommend``: what a machine runs well, of the models whose shapes are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from localllm import __version__
from localllm.cli.completers import complete_known
from localllm.cli.options import (
    Option,
    hardware_option,
    json_option,
    markdown_option,
    planning_options,
    value_option,
)
from localllm.cli.output import LiveLine, check_one_format, emit_json, stdout_console
from localllm.cli.remembering import Remembering, command_line
from localllm.core.policy import Policy
from localllm.errors import DoesNotFitError
from localllm.words.parse import parse_count, parse_size

if TYPE_CHECKING:
    from localllm.core.recommendation import Sort, Wish

_SORTS: tuple[Sort, ...] = ("size", "speed", "context", "j-per-token")

EXAMPLES = """\
\b
Examples:
  localllm recommend
  localllm recommend --hardware rtx-4090
  localllm recommend qwen coder --min-tok-s 30
  localllm recommend --hardware apple-m3-max --sort j-per-token --ctx 32k
  localllm recommend --hardware "2x rtx-3090" --max-gib 40 --markdown
  localllm recommend --prefer context --json

Models are ordered by a figure, never by an opinion of which answers better: parameters, unless
--sort says otherwise. Each is planned in its best quantisation; the page ends with the commands
that make these plans again. On a narrow terminal columns are left out in this order: prompt speed,
KV type, context, file, loss, joules; the page says so, and --markdown and --json have all of them.

Exit code 3 says that nothing runs well, 5 that no known model has such a name.
"""


def parse_gib(text: str) -> int:
    """Read a size in GiB where it names no unit: ``40``, ``40G``, ``900M``."""
    try:
        return parse_size(f"{float(text)}G")
    except ValueError:
        return parse_size(text)


@click.command(cls=Remembering, epilog=EXAMPLES)
@click.argument("words", metavar="[WORD]...", nargs=-1, shell_complete=complete_known)
@hardware_option(
    help="Look for another machine: a profile (rtx-4090, 2x rtx-4090; repeat it to combine them), "
    "or a file that localllm hardware --json wrote there. [default: this machine]",
)
@click.option(
    "--sort",
    cls=Option,
    type=click.Choice(_SORTS),
    envvar="LOCALLLM_SORT",
    help="Order by parameters, decode speed, context, or joules per token. [default: size; speed "
    "or context where --prefer is one of them]",
)
@value_option(
    "--limit",
    "limit",
    parse=parse_count,
    metavar="N",
    help="Rows at most. [default: 10]",
)
@value_option(
    "--max-gib",
    "max_file_bytes",
    parse=parse_gib,
    metavar="N",
    help="Only files of at most so many GiB.",
)
@markdown_option
@json_option
@planning_options
@click.pass_context
def recommend(
    ctx: click.Context,
    words: tuple[str, ...],
    names: tuple[str, ...],
    sort: Sort | None,
    limit: int | None,
    max_file_bytes: int | None,
    as_markdown: bool,
    as_json: bool,
    policy: Policy,
) -> None:
    """Name the known models that a machine runs well.

    WORDs narrow the names down: localllm recommend qwen coder. A model is listed if it decodes at
    10 tokens/s (or --min-tok-s) with a loss that is not large, with the command that plans it.
    """
    from dataclasses import replace

    from localllm import session
    from localllm.cli import recommend_view as view
    from localllm.core.recommendation import Wish, recommendation_document
    from localllm.core.recommendation import recommend as search

    check_one_format(as_json=as_json, as_markdown=as_markdown)
    if sort == "context" and policy.prefer == "balanced":
        policy = replace(policy, prefer="context")
    usual: Sort = policy.prefer if policy.prefer in ("speed", "context") else "size"
    wish = Wish(sort=sort or usual, limit=limit or 10, max_file_bytes=max_file_bytes)
    machine = session.hardware_named(*names) if names else None
    with session.Session(hardware=machine) as open_session, LiveLine() as line:
        line.draw("reading the known models")
        hardware = open_session.hardware
        found = search(
            session.known_models(words),
            hardware,
            policy,
            wish,
            calibration=open_session.calibration,
            on_progress=lambda done, total: line.draw(f"planning: model {done} of {total}"),
        )
    commands = [view.plan_command(row, names) for row in found.rows]
    if as_json:
        emit_json(
            recommendation_document(
                found, hardware=hardware, version=__version__, commands=commands
            )
        )
    elif as_markdown:
        text = view.as_markdown(
            found,
            hardware,
            policy,
            wish,
            version=__version__,
            commands=commands,
            command=command_line(ctx),
        )
        click.echo(text, nl=False)
    else:
        view.print_recommendation(
            stdout_console(),
            found,
            hardware,
            policy,
            wish,
            version=__version__,
            commands=commands,
        )
    if not found.rows:
        raise DoesNotFitError(
            f"No known model runs well on {hardware.name} as asked.",
            hint=_ask_for_less(policy, wish),
        )


def _ask_for_less(policy: Policy, wish: Wish) -> str:
    """What was asked for comes first: it is what may stand in the way."""
    asked = [
        (wish.max_file_bytes, "a larger --max-gib"),
        (policy.max_j_per_token, "a larger --max-j-per-token"),
        (policy.quant, "another --quant"),
        (policy.power_limit_w, "a higher --power-limit"),
        (policy.n_ctx, "a smaller --ctx"),
    ]
    ways = [words for value, words in asked if value is not None]
    if wish.max_file_bytes is None:
        least = policy.min_tok_s
        slower = "--min-tok-s 5" if least is None or least > 5 else "a lower --min-tok-s"
        ways += [slower, "--kv q8_0"] if policy.type_k is None else [slower]
    if len(ways) > 1:
        ways[-1] = f"or {ways[-1]}"
    return f"Ask for less: {', '.join(ways)}."
