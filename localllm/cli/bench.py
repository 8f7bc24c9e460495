"""``localllm bench``: llama-bench's tests on the engine that chats, next to the plan.

The method is llama-bench's: random tokens, no sampling, a warm-up, wall time of each repetition,
mean and sample standard deviation of the rates. What was measured before an interruption or a
death of the engine is printed before the error is.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import click

from localllm.cli.options import (
    CHOICE_FLAGS,
    Command,
    json_option,
    model_argument,
    planning_options_without,
    value_option,
)
from localllm.cli.output import (
    LiveLine,
    does_not_fit,
    emit_json,
    emit_json_line,
    failure,
    note,
    result,
)
from localllm.cli.parse import parse_count, parse_pair, parse_wholes
from localllm.core.generation import (
    BenchSample,
    BenchTest,
    Died,
    Event,
    Failed,
    Loaded,
    LoadProgress,
)
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.errors import UsageError
from localllm.units import format_bytes

if TYPE_CHECKING:
    from localllm.core.documents import BenchSetup
    from localllm.session import LocalModel, Session

N_BATCH, N_UBATCH = 2048, 512
"""llama-bench's own defaults."""

EXAMPLES = """\
\b
Examples:
  localllm bench demo
  localllm bench model.gguf -p 512,2048 -n 128 -d 0,8192
  localllm bench model.gguf -ngl 20 --json > bench.json
"""


@click.command(cls=Command, epilog=EXAMPLES)
@model_argument
@value_option(
    "-p",
    "--n-prompt",
    parse=parse_wholes,
    metavar="N,...",
    help="Prompt tokens, one test for each number; 0 leaves it out. [default: 512]",
)
@value_option(
    "-n",
    "--n-gen",
    parse=parse_wholes,
    metavar="N,...",
    help="Generated tokens, one test for each number; 0 leaves it out. [default: 128]",
)
@value_option(
    "-pg",
    "--n-prompt-gen",
    "pair",
    parse=parse_pair,
    metavar="P,G",
    help="One more test: P prompt tokens, then G generated ones.",
)
@value_option(
    "-d",
    "--n-depth",
    "--depth",
    "depths",
    parse=parse_wholes,
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
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["md", "json", "jsonl"]),
    default="md",
    help="Form of the results: a Markdown table, JSON, or one JSON object per line.",
)
@json_option
@planning_options_without("depth", *CHOICE_FLAGS)
def bench(
    model: str,
    n_prompt: tuple[int, ...] | None,
    n_gen: tuple[int, ...] | None,
    pair: tuple[int, int] | None,
    depths: tuple[int, ...] | None,
    repetitions: int | None,
    form: Literal["md", "json", "jsonl"],
    as_json: bool,
    policy: Policy,
) -> None:
    """Measure a model's speed as llama-bench does.

    Prompt processing (pp) and text generation (tg) in tokens per second: mean and standard
    deviation. The context is as large as the largest test needs.
    """
    from localllm import session

    tests = bench_tests(
        prompts=(512,) if n_prompt is None else n_prompt,
        gens=(128,) if n_gen is None else n_gen,
        pair=pair,
        depths=depths or (0,),
        repetitions=repetitions or 5,
    )
    local = session.resolve_model(model)
    with session.Session() as running:
        plan = running.make_plan(local, bench_policy(policy, tests))
        if plan.verdict != "fits":
            raise does_not_fit(plan)
        setup = _load(running, local, plan, policy)
        _Report("json" if as_json else form, setup, running).run(tests)


def bench_tests(
    *,
    prompts: tuple[int, ...],
    gens: tuple[int, ...],
    pair: tuple[int, int] | None,
    depths: tuple[int, ...],
    repetitions: int,
) -> tuple[BenchTest, ...]:
    """Return the tests in llama-bench's order: for each depth prompts, generations, the pair.

    Raises UsageError when nothing is left to measure.
    """
    shapes = [(n, 0) for n in prompts if n] + [(0, n) for n in gens if n]
    if pair is not None:
        shapes.append(pair)
    if not shapes:
        raise UsageError("Nothing to measure.", hint="Give -p or -n a number above 0.")
    return tuple(
        BenchTest(n_prompt=p, n_gen=g, n_depth=depth, repetitions=repetitions)
        for depth in depths
        for p, g in shapes
    )


def bench_policy(policy: Policy, tests: tuple[BenchTest, ...]) -> Policy:
    """Return the policy with llama-bench's batches, and the context that the largest test needs.

    Raises UsageError for a ``--ctx`` that is too small for it.
    """
    needed = max(test.n_prompt + test.n_gen + test.n_depth for test in tests)
    if isinstance(policy.n_ctx, int) and policy.n_ctx < needed:
        raise UsageError(
            f"The tests need a context of {needed:,} tokens; --ctx allows {policy.n_ctx:,}.",
            hint="Leave --ctx out: bench takes what its largest test needs.",
        )
    return replace(
        policy,
        n_ctx=needed if policy.n_ctx is None else policy.n_ctx,
        n_batch=policy.n_batch or N_BATCH,
        n_ubatch=policy.n_ubatch or N_UBATCH,
    )


def _load(running: Session, local: LocalModel, plan: Plan, policy: Policy) -> BenchSetup:
    """Load the model and return what all rows have in common. Raises what the engine reports."""
    from localllm import session
    from localllm.core.documents import BenchSetup

    engine = session.engine_info()
    with LiveLine() as live:
        for event in _checked(running.load(local, plan)):
            if isinstance(event, LoadProgress):
                live.draw(f"loading {plan.model.name}: {event.fraction:.0%}")
            elif isinstance(event, Loaded):
                loaded = event
    compared = running.memory_comparison()
    return BenchSetup(
        plan=plan,
        engine=engine,
        model_path=str(local.paths[0]),
        model_type=loaded.description,
        n_batch=policy.n_batch or N_BATCH,
        n_ubatch=policy.n_ubatch or N_UBATCH,
        n_cpu_moe=policy.n_cpu_moe or 0,
        measured_bytes=sum(c.measured_bytes for c in compared) if compared else None,
    )


class _Report:
    """Rows as they are finished: printed at once, except as one JSON array at the end."""

    def __init__(
        self, form: Literal["md", "json", "jsonl"], setup: BenchSetup, running: Session
    ) -> None:
        self._form, self._setup, self._running = form, setup, running
        self._rows: list[dict[str, Any]] = []

    def run(self, tests: tuple[BenchTest, ...]) -> None:
        """Run the tests; whatever ends them, the finished ones are printed."""
        from localllm.core.documents import bench_row

        samples: list[int] = []
        started = _now()
        try:
            with LiveLine() as live:
                for event in _checked(self._running.bench(tests)):
                    if not isinstance(event, BenchSample):
                        continue
                    if event.repetition > 0:
                        samples.append(event.ns)
                    live.draw(self._progress(tests, event, samples))
                    if event.repetition == event.test.repetitions:
                        live.wipe()
                        self._add(bench_row(self._setup, event.test, samples, test_time=started))
                        self._running.keep_bench(event.test, samples)
                        samples, started = [], _now()
        finally:
            self._finish()

    def _progress(
        self, tests: tuple[BenchTest, ...], event: BenchSample, samples: list[int]
    ) -> str:
        test = event.test
        where = f"bench {len(self._rows) + 1}/{len(tests)}: {test.label}"
        if not samples:
            return f"{where}, warmed up"
        rate = statistics.fmean(1e9 * (test.n_prompt + test.n_gen) / ns for ns in samples)
        return f"{where}, {event.repetition}/{test.repetitions}, {rate:,.2f} t/s"

    def _add(self, row: dict[str, Any]) -> None:
        from localllm.cli import bench_table

        self._rows.append(row)
        if self._form == "md":
            shown = bench_table.columns(row)
            if len(self._rows) == 1:
                result(bench_table.head(shown))
            result(bench_table.line(shown, row))
        elif self._form == "jsonl":
            emit_json_line(row)

    def _finish(self) -> None:
        if self._form == "json":
            emit_json(self._rows)
        elif self._form == "md" and self._rows:
            engine = self._setup.engine
            result(f"\nbuild: {self._rows[0]['build_commit']} (llama-cpp-python {engine.version})")
            for line in self._estimate_lines():
                result(line)
            for line in _memory_lines(self._running):
                result(line)
        problem = self._running.measurement_problem()
        if problem is not None:
            note(problem)

    def _estimate_lines(self) -> Iterator[str]:
        """Yield each test's estimate beside what was measured, then whose estimates they are."""
        from localllm.cli import bench_table

        estimated = [row for row in self._rows if row["predicted_ts"] is not None]
        for row in estimated:
            yield bench_table.estimate_line(row)
        if estimated:
            yield f"estimates: {estimated[0]['predicted_ts_basis']}"


def _memory_lines(running: Session) -> Iterator[str]:
    """Yield the plan's memory beside what llama.cpp allocated, per device."""
    for compared in running.memory_comparison():
        planned, measured = compared.planned_bytes, compared.measured_bytes
        off = f" ({(planned - measured) / measured:+.1%})" if measured else ""
        place = "RAM" if compared.device == "host" else compared.device
        yield f"{place}: planned {format_bytes(planned)}{off}, measured {format_bytes(measured)}"


def _checked(events: Iterator[Event]) -> Iterator[Event]:
    """Pass events on; a refusal or a death of the engine is raised as its error."""
    for event in events:
        if isinstance(event, (Failed, Died)):
            raise failure(event)
        yield event


def _now() -> str:
    """RFC 3339 in UTC, as llama-bench writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
