"""One model's run from wishes to rows, for a shell that goes on meanwhile and afterwards.

What has come of it is a value that grows: whoever shows it gets the whole of it each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from localllm.benching.gathered import Missed
from localllm.benching.loaded import Loader, Running
from localllm.benching.planned import Planned, plan_all
from localllm.benching.run import Run
from localllm.benching.saving import bench_document
from localllm.benching.wanted import Estimate, Wanted, estimates
from localllm.core.bench.activity import Progress
from localllm.core.bench.row import Row
from localllm.core.bench.sweep import Axes
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.core.reconcile import Comparison
from localllm.errors import LocalLLMError
from localllm.session import engine_info

if TYPE_CHECKING:
    from localllm.session import LocalModel, Session

WATTS_EVERY_S = 1.0
TOLD_EVERY_S = 0.5
"""Progress of one kind; a new kind, rows and notes are told at once. Each costs some ms of drawing,
which on a machine with few processors are taken from what is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A run as far as it has come."""

    name: str
    """What the model is called here."""
    wanted: Wanted
    began: str
    """ISO 8601, with the offset from UTC."""
    plan: Plan | None = None
    """What is loaded; None before it is planned."""
    estimates: tuple[Estimate, ...] = ()
    """Of that plan, for all tests."""
    rows: tuple[Row, ...] = ()
    memory: tuple[Comparison, ...] = ()
    """Planned beside allocated memory."""
    notes: tuple[str, ...] = ()
    missed: tuple[Missed, ...] = ()
    watts: tuple[tuple[float, float], ...] = ()
    """Moments of ``time.monotonic``, and watts; none where there is no meter."""
    progress: Progress | None = None
    """What is being done; None at the end."""
    ended: str | None = None
    """``complete``, ``interrupted`` or the error's sentence; None while it goes on."""
    error: LocalLLMError | None = None
    """What ended it."""

    @property
    def power_unknown(self) -> tuple[str, ...]:
        """Why tests have no watts, each reason once."""
        reasons = (row["power_unknown"] for row in self.rows)
        return tuple(dict.fromkeys(reason for reason in reasons if reason))

    def document(self) -> dict[str, Any]:
        """Return it as ``localllm.bench/1``, to be saved."""
        return bench_document(
            [dict(row) for row in self.rows],
            mode=self.wanted.mode,
            ended=self.ended or "interrupted",
            began=self.began,
            missed=self.missed,
            watts=self.watts,
        )


class WholeRun:
    """Runs once, in one thread; ``stop`` is for any other."""

    def __init__(self, *, on_change: Callable[[Measured], None]) -> None:
        """Take who hears of every change, in the thread that measures."""
        self._on_change = on_change
        self._stopping = False
        self._run: Run | None = None
        self._session: Session | None = None
        self._measured: Measured | None = None
        self._watts_until_s = 0.0
        self._told_s = 0.0

    def stop(self) -> None:
        """Ask it to end soon; what was measured is kept."""
        self._stopping = True
        run = self._run
        if run is not None:
            run.stop()

    def measure(
        self, session: Session, model: LocalModel, policy: Policy, wanted: Wanted
    ) -> Measured:
        """Plan, load and measure; return what came of it, an error included.

        ``policy``: the person's own wishes. The model stays loaded; close the session, or go on
        with it. What is no LocalLLMError is raised.
        """
        self._session = session
        began = datetime.now(UTC).isoformat(timespec="seconds")
        self._measured = Measured(name=model.name, wanted=wanted, began=began)
        error: LocalLLMError | None = None
        try:
            self._measure(session, model, policy, wanted)
        except LocalLLMError as failed:
            error = failed
        return self._finished(error)

    def _measure(self, session: Session, model: LocalModel, policy: Policy, wanted: Wanted) -> None:
        policy = replace(policy, quant=None)  # it has been found, under its publisher's name
        tests = wanted.tests
        (planned,) = plan_all(
            session,
            [model],
            policy,
            Axes.of_policy(policy),
            tests,
            chat=wanted.chat,
            on_progress=self._tell,
        )
        if planned.error is not None:
            raise planned.error
        self._change(plan=planned.plan, estimates=estimates(planned.plan, tests))
        loader = Loader(session, engine_info(), wanted.mode)
        self._run = Run(
            planned=[planned],
            tests=tests,
            rules=wanted.rules,
            loader=loader,
            on_row=self._take,
            on_note=self._note,
            on_progress=self._tell,
        )
        if self._stopping:  # asked for while there was nothing to stop
            self._run.stop()
        self._watts_until_s = time.monotonic()
        try:
            self._run.run()
        finally:
            loader.close_other(session)

    def _finished(self, error: LocalLLMError | None) -> Measured:
        run = self._run
        problem = None if self._session is None else self._session.measuring.problem()
        if problem is not None:
            self._note(problem)
        if error is not None:
            ended = error.message
        elif run is not None and run.missed:  # there is one configuration: nothing was measured
            error = run.missed[0].error
            ended = "complete"
        else:
            ended = "interrupted" if run is None or run.stopped else "complete"
        self._change(
            progress=None,
            ended=ended,
            error=error,
            missed=() if run is None else tuple(run.missed),
            watts=() if run is None else tuple(run.watts),
        )
        assert self._measured is not None
        return self._measured

    # -- what has come of it ---------------------------------------------------------------------

    def _change(self, **changes: Any) -> None:
        assert self._measured is not None
        self._measured = replace(self._measured, **changes)
        self._on_change(self._measured)

    def _take(self, row: dict[str, Any], running: Running, planned: Planned) -> None:
        assert self._measured is not None
        self._change(
            rows=(*self._measured.rows, row),
            memory=running.memory,
            plan=running.setup.plan,
            watts=self._watts(),
        )

    def _note(self, text: str) -> None:
        assert self._measured is not None
        self._change(notes=(*self._measured.notes, text))

    def _tell(self, progress: Progress) -> None:
        assert self._measured is not None
        before, now_s = self._measured.progress, time.monotonic()
        same = before is not None and (type(before.step), before.where) == (
            *(type(progress.step), progress.where),
        )
        if same and now_s - self._told_s < TOLD_EVERY_S:
            return
        self._told_s = now_s
        self._change(progress=progress, watts=self._watts())

    def _watts(self) -> tuple[tuple[float, float], ...]:
        """Return what was drawn so far; a little is added at a time, beside a measurement."""
        assert self._measured is not None
        known, now_s = self._measured.watts, time.monotonic()
        meters = None if self._session is None else self._session.measuring.meters
        if meters is None or self._run is None or now_s - self._watts_until_s < WATTS_EVERY_S:
            return known
        added = meters.power_trace(self._watts_until_s, now_s)
        if added:
            self._watts_until_s = added[-1][0]
        return (*known, *added)
