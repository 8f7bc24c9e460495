"""``localllm bench``: the command line, and the order of things.

The method is llama-bench's: random tokens, no sampling, a warm-up, wall time of each repetition,
mean and sample standard deviation of the rates. What was measured before an interruption or a
death of the engine is printed before the error is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from localllm.cli.bench.axes import SWEPT_FLAGS, axes_options, list_option
from localllm.cli.bench.forms import FORMS, Form
from localllm.cli.options import (
    CHOICE_FLAGS,
    Command,
    Option,
    complete_plannable,
    json_option,
    offline_option,
    planning_options_without,
    value_option,
    yes_option,
)
from localllm.cli.output import emit_json, result
from localllm.core.bench.sweep import Axes
from localllm.core.policy import Policy
from localllm.errors import UsageError
from localllm.words import bench_lists as lists
from localllm.words.parse import parse_count, parse_whole

if TYPE_CHECKING:
    from localllm.core.bench.setup import Mode

EXAMPLES = """\
\b
Examples:
  localllm bench demo
  localllm bench model.gguf -p 512,2048 -n 128 -d 0,8192
  localllm bench model.gguf -t 1-8 -ctk f16,q8_0 -o csv > bench.csv
  localllm bench model.gguf -ngl 0-32+8 --save before.json --plot speed.svg
  localllm bench --compare before.json after.json

Lists are llama-bench's: 1,2,4 and the ranges 1-8, 0-32+8, 1-64*2; every combination is one
configuration, which is planned and loaded once. One that does not fit is left out with a note, and
the exit code is 3.
"""


@click.command(cls=Command, epilog=EXAMPLES)
@click.argument("models", metavar="[MODEL]...", nargs=-1, shell_complete=complete_plannable)
@list_option(
    "-p",
    "--n-prompt",
    "prompts",
    parse=lists.parse_wholes,
    metavar="N,...",
    help="Prompt tokens, one test for each number; 0 leaves it out. [default: 512]",
)
@list_option(
    "-n",
    "--n-gen",
    "gens",
    parse=lists.parse_wholes,
    metavar="N,...",
    help="Generated tokens, one test for each number; 0 leaves it out. [default: 128]",
)
@list_option(
    "-pg",
    "--n-prompt-gen",
    "pairs",
    parse=lists.parse_tests,
    metavar="P,G",
    help="One more test: P prompt tokens, then G generated ones. Repeat it for more.",
)
@list_option(
    "-d",
    "--n-depth",
    "--depth",
    "depths",
    parse=lists.parse_wholes,
    metavar="N,...",
    help="Tokens already in the context, all tests for each number. [default: 0]",
)
@value_option(
    "-r",
    "--repetitions",
    parse=parse_count,
    metavar="N",
    help="Repetitions of each test. [default: 5]",
)
@value_option(
    "--delay",
    parse=parse_whole,
    metavar="SECONDS",
    help="Wait before each test. [default: 0]",
)
@click.option(
    "--quick",
    "is_quick",
    is_flag=True,
    cls=Option,
    help="For the impatient: pp128 and tg32, twice. Marked as such, and never compared.",
)
@click.option(
    "--steady",
    "is_steady",
    is_flag=True,
    cls=Option,
    help="For joules: warmed up, at least 5 windows of 10 s for each test, 10 s of rest between, "
    "configurations there and back.",
)
@click.option(
    "--chat/--no-chat",
    "chat",
    default=True,
    cls=Option,
    help="Stream sampled answers after the tests, and report their rate apart. [default: chat]",
)
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(FORMS),
    default="md",
    cls=Option,
    help="Form of the results: a Markdown table, CSV, JSON, a JSON object for each test, SQL.",
)
@json_option
@click.option(
    "--save",
    "saved",
    cls=Option,
    metavar="FILE.json",
    type=click.Path(path_type=Path),
    help="Write the whole run as well, for --compare.",
)
@click.option(
    "--plot",
    "picture",
    cls=Option,
    metavar="FILE.svg",
    type=click.Path(path_type=Path),
    help="Draw tokens/s against depth, and watts over time.",
)
@click.option(
    "--compare",
    "compared",
    cls=Option,
    nargs=2,
    metavar="A.json B.json",
    type=click.Path(path_type=Path),
    help="Measure nothing: show what differs between two saved runs, and how surely. llama-bench's "
    "own JSON is taken too.",
)
@click.option("-ot", "--override-tensor", "overrides", cls=Option, hidden=True, multiple=True)
@yes_option
@offline_option
@planning_options_without("depth", *SWEPT_FLAGS, *CHOICE_FLAGS)
@axes_options
def bench(
    models: tuple[str, ...],
    prompts: tuple[int, ...] | None,
    gens: tuple[int, ...] | None,
    pairs: tuple[tuple[int, int], ...] | None,
    depths: tuple[int, ...] | None,
    repetitions: int | None,
    delay: int | None,
    is_quick: bool,
    is_steady: bool,
    chat: bool,
    form: Form,
    as_json: bool,
    saved: Path | None,
    picture: Path | None,
    compared: tuple[Path, Path] | None,
    overrides: tuple[str, ...],
    yes: bool,
    policy: Policy,
    axes: Axes,
) -> None:
    """Measure a model's speed as llama-bench does.

    Prompt processing (pp) and text generation (tg) in tokens per second: mean and standard
    deviation, beside the plan's estimate, and joules where there is a meter. The context is as
    large as the largest test needs.
    """
    if compared is not None:
        if models:
            raise UsageError("--compare measures nothing.", hint="Leave out the model.")
        _compare(*compared, as_json=as_json or form == "json")
        return
    if not models:
        raise UsageError("Which model?", hint="localllm bench demo, or a path to a .gguf file.")
    if overrides:
        raise UsageError(
            "localllm decides itself which tensors lie where: -ot is not taken.",
            hint="-ncmoe keeps the experts of the first layers in RAM, -ngl whole layers.",
        )
    if is_quick and is_steady:
        raise UsageError("--quick and --steady are opposites.", hint="Give one of them.")
    mode: Mode = "quick" if is_quick else "steady" if is_steady else "standard"
    from localllm.benching.wanted import usual
    from localllm.core.bench.tests import check_size

    wanted = replace(
        usual(mode), pairs=pairs or (), repetitions=repetitions, delay_s=delay, chat=chat
    )
    wanted = replace(
        wanted,
        prompts=wanted.prompts if prompts is None else prompts,
        gens=wanted.gens if gens is None else gens,
        depths=depths or wanted.depths,
    )
    rules, tests = wanted.rules, wanted.tests
    check_size(len(models), axes, tests)
    _check_targets(saved, picture)
    from localllm.cli.bench.measure import Output, measure

    output = Output(form="json" if as_json else form, saved=saved, picture=picture)
    measure(models, policy, axes, tests, rules, output, yes=yes)


def _compare(a: Path, b: Path, *, as_json: bool) -> None:
    from localllm.benching.saving import bench_file
    from localllm.cli.bench.comparing import comparison_document
    from localllm.core.bench.compare import compare
    from localllm.words.bench_comparing import comparison_lines

    file_a, file_b = bench_file(a), bench_file(b)
    compared = compare(file_a.rows, file_b.rows)
    if as_json:
        emit_json(comparison_document(file_a, file_b, compared))
        return
    for line in comparison_lines(file_a, file_b, compared):
        result(line)


def _check_targets(saved: Path | None, picture: Path | None) -> None:
    """Raise UsageError, before hours of measuring, for a file that cannot be written."""
    if saved is not None:
        from localllm.benching.saving import check_save_target

        check_save_target(saved)
    if picture is not None:
        from localllm.cli.plot import check_target

        check_target(picture)
