"""A run from its wishes to its outputs: planned, measured, printed, saved, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localllm import session
from localllm.benching.loaded import Loader, Running
from localllm.benching.planned import Planned, plan_all
from localllm.benching.rules import Rules
from localllm.benching.run import Run
from localllm.benching.saving import bench_document, save_bench, write_whole
from localllm.cli.bench.forms import Form
from localllm.cli.bench.picture import bench_picture
from localllm.cli.bench.report import Report
from localllm.cli.bench.table import Column, columns
from localllm.cli.obtaining import obtain
from localllm.cli.output import LiveLine, note
from localllm.cli.signals import ended_by_signals
from localllm.core.bench.activity import Progress
from localllm.core.bench.setup import BenchSetup, Mode, settings_row
from localllm.core.bench.sweep import Axes
from localllm.core.generation import BenchTest, EngineInfo
from localllm.core.policy import Policy
from localllm.errors import LocalLLMError
from localllm.words.bench_progress import progress_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where results go."""

    form: Form
    saved: Path | None = None
    picture: Path | None = None


def measure(
    models: Sequence[str],
    policy: Policy,
    axes: Axes,
    tests: tuple[BenchTest, ...],
    rules: Rules,
    output: Output,
    *,
    yes: bool,
) -> None:
    """Measure every configuration of every model.

    Raises what could not be loaded after all others have been measured, DoesNotFitError first; and
    whatever ends the run, after what was measured has been printed and saved.
    """
    with ended_by_signals(), session.Session() as whole, LiveLine() as live:

        def tell(progress: Progress) -> None:
            live.draw(progress_line(progress))

        def take(row: dict[str, Any], running: Running, one: Planned) -> None:
            live.wipe()
            report.add(row, running, one)

        def remark(text: str) -> None:
            live.wipe()
            note(text)

        taken = [obtain(whole, name, policy, yes=yes, command="bench") for name in models]
        found = [each.model for each in taken]
        policy = replace(policy, quant=None)  # it has been found, under its publisher's name
        planned = plan_all(
            whole,
            found,
            policy,
            axes,
            tests,
            chat=rules.chat_answers > 0,
            on_progress=tell,
        )
        live.wipe()
        if all(one.error is not None for one in planned):
            raise _left_out(planned, [one.error for one in planned if one.error is not None])
        engine = session.engine_info()
        varied = axes.swept | ({"model"} if len(found) > 1 else set())
        report = Report(output.form, _columns(planned, engine, axes), varied)
        loader = Loader(whole, engine, rules.mode)
        run = Run(
            planned=planned,
            tests=tests,
            rules=rules,
            loader=loader,
            on_row=take,
            on_note=remark,
            on_progress=tell if live.live else None,
        )
        _finish_whatever_happens(run, report, loader, rules, output, live)
    if run.missed:
        raise _left_out(planned, [missed.error for missed in run.missed])


def _finish_whatever_happens(
    run: Run, report: Report, loader: Loader, rules: Rules, output: Output, live: LiveLine
) -> None:
    ended, began = "interrupted", datetime.now(UTC).isoformat(timespec="seconds")
    try:
        run.run()
        ended = "complete"
    except LocalLLMError as error:
        ended = error.message
        raise
    finally:
        live.wipe()
        problem = loader.measurement_problem()
        loader.close()
        try:  # files first: a reader of standard output that has left must not cost them
            _write(run, report, output, mode=rules.mode, ended=ended, began=began)
        finally:
            report.finish()
        if problem is not None:
            note(problem)


def _write(run: Run, report: Report, output: Output, *, mode: Mode, ended: str, began: str) -> None:
    """Write the files that were asked for; no picture of nothing. Raises LocalLLMError."""
    if output.saved is not None:
        document = bench_document(
            report.rows, mode=mode, ended=ended, began=began, missed=run.missed, watts=run.watts
        )
        save_bench(output.saved, document)
    if output.picture is not None and report.rows:
        write_whole(output.picture, bench_picture(report.rows, run.watts))


def _columns(planned: Sequence[Planned], engine: EngineInfo, axes: Axes) -> tuple[Column, ...]:
    """Return the table's columns: they must be known before the first row is."""
    rows = [
        settings_row(
            BenchSetup(
                plan=one.plan,
                engine=engine,
                name=one.local.name,
                model_path=str(one.local.paths[0]),
                model_type="",
                n_batch=one.configuration.policy.n_batch or one.plan.n_batch,
                n_ubatch=one.configuration.policy.n_ubatch or one.plan.n_ubatch,
                n_cpu_moe=one.configuration.policy.n_cpu_moe or 0,
                split_mode=one.configuration.split_mode,
                main_gpu=one.configuration.main_gpu,
            )
        )
        for one in planned
        if one.error is None
    ]
    return columns(rows, axes.swept)


def _left_out(planned: Sequence[Planned], left_out: Sequence[LocalLLMError]) -> LocalLLMError:
    """Return the one error, or what stands for several: that which does not fit comes first."""
    if len(planned) == 1:
        return left_out[0]
    first = min(left_out, key=lambda error: error.exit_code)
    return type(first)(
        f"{len(left_out)} of {len(planned)} configurations could not be measured.",
        hint=first.hint,
    )
