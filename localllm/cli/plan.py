"""``localllm plan``: what would go where, and why, before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from localllm.cli.options import (
    Command,
    Option,
    complete_plannable,
    hardware_option,
    json_option,
    offline_option,
    planning_options,
    value_option,
)
from localllm.cli.output import (
    LiveLine,
    emit_json,
    stdout_console,
    unicode_output,
)
from localllm.core.policy import Policy
from localllm.errors import DoesNotFitError
from localllm.words.failures import does_not_fit, engine_refuses

if TYPE_CHECKING:
    from localllm.choosing import Decided
    from localllm.core.plan import Plan
    from localllm.core.target import Reach

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
  localllm plan llama-3-70b --hardware rtx-4090 --alternatives
  localllm plan qwen3-32b --prefer context --min-tok-s 15
  localllm plan llama-3-70b:Q4_K_M --hardware rtx-4090 --want 20tok/s -c 32k

Exit code 3 says that it does not fit, or does not reach what --want asks for, 6 that llama.cpp
would refuse to run it; the plan is printed all the same.
"""


@click.command(cls=Command, epilog=EXAMPLES)
@click.argument("model", metavar="MODEL", shell_complete=complete_plannable)
@hardware_option(
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
@click.option(
    "--alternatives",
    is_flag=True,
    help="Show the choices beside this one: none beats another in quality, speed and context.",
)
@value_option(
    "--want",
    "want",
    parse=str.strip,
    metavar="TARGET",
    help="Say what is missing for a decode speed (20tok/s) or an energy per token (0.5J/token), "
    "and the least change that reaches it.",
)
@offline_option
@json_option
@planning_options
def plan(
    model: str,
    names: tuple[str, ...],
    explain: bool,
    alternatives: bool,
    want: str | None,
    basis: Literal["auto", "exact", "formula"],
    as_json: bool,
    policy: Policy,
) -> None:
    """Show what fits where, and why.

    MODEL is a path to a .gguf file, its address (https://...), a known model's name (llama-3-70b,
    llama-3-70b:Q5_K_M), a repository on the Hub (user/repo, user/repo:Q4_K_M) or demo. A bare name
    leaves the quantisation open: it is chosen, with the KV cache, for --prefer. Nothing is loaded,
    and nothing but headers is fetched.
    """
    from localllm import session
    from localllm.cli.obtaining import watch_on
    from localllm.cli.signals import ended_by_signals

    target = None
    if want is not None:
        from localllm.core.target import parse_target

        target = parse_target(want)
    machine = session.hardware_named(*names) if names else None
    with ended_by_signals(), session.Session(hardware=machine, basis=basis) as open_session:
        open_session.prepare_plans()
        with LiveLine() as line:
            decided = open_session.find_for_plan(
                model, policy, alternatives=alternatives, target=target, watch=watch_on(line)
            )
            made = open_session.plan_decided(decided)
            reach = None
            if target:
                reach = open_session.reach(
                    model,
                    decided.model,
                    decided,
                    target,
                    on_machine=lambda name: line.draw(f"looking for {want}: {name}"),
                )
    if as_json:
        emit_json(_document(made, decided, reach))
    else:
        _show(made, decided, reach, explain=explain)
    if made.verdict != "fits":
        raise _would_fit(made, reach) if reach and reach.steps else does_not_fit(made)
    if made.refusal is not None:
        raise engine_refuses(made)
    if reach is not None and not reach.reached:
        raise _does_not_reach(made, reach)


def _document(made: Plan, decided: Decided, reach: Reach | None) -> dict[str, Any]:
    """The plan's document, with what was chosen and what a target lacks."""
    from localllm.cli.alternatives_view import marked
    from localllm.core.choice_document import (
        alternatives_document,
        choice_document,
        target_document,
    )
    from localllm.core.documents import plan_document

    choice, table = decided.choice, decided.alternatives
    options = table.alternatives if table else ()
    return plan_document(made) | {
        "choice": choice_document(choice, decided.asked) if choice else None,
        "alternatives": alternatives_document(options, marked(options, made)) if table else None,
        "target": target_document(reach) if reach else None,
    }


def _show(made: Plan, decided: Decided, reach: Reach | None, *, explain: bool) -> None:
    from localllm.cli.plan_view import print_plan

    console = stdout_console()
    print_plan(console, made, explain=explain)
    if decided.alternatives is None and reach is None:
        return
    from localllm.cli import alternatives_view as view

    if decided.alternatives is not None:
        options = decided.alternatives.alternatives
        view.print_alternatives(
            console, options, view.marked(options, made), unicode=unicode_output()
        )
    if reach is not None:
        view.print_reach(console, reach)


def _would_fit(made: Plan, reach: Reach) -> DoesNotFitError:
    """The error that ends a plan which does not fit, where a target's steps make it fit."""
    return DoesNotFitError(
        does_not_fit(made).message,
        hint=f"This fits and reaches {reach.target}: {reach.steps[0].change}.",
    )


def _does_not_reach(made: Plan, reach: Reach) -> DoesNotFitError:
    """The error that ends a plan whose target is not reached."""
    from localllm.cli.alternatives_view import nearest

    least = reach.steps[0].change if reach.steps else None
    return DoesNotFitError(
        f"{made.model.name} does not reach {reach.target} here.",
        hint=f"This would reach it: {least}." if least else nearest(reach),
    )
