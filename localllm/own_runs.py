"""What was measured on this machine: kept after a run, and what it says of the next estimate.

Composition only: the files are ``records/measurements.py``'s and ``records/history.py``'s, the
arithmetic ``core/calibration.py``'s. A store that cannot be read or written is a sentence for the
person, never an end of what they were doing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.plan import Plan

if TYPE_CHECKING:
    from localllm.core.calibration import Calibration, Observation
    from localllm.core.generation import BenchTest, Loaded, RunStats
    from localllm.core.metered.readings import Energy, Health, Unmeasured
    from localllm.records.measured import TimedRun
    from localllm.records.observed import Occasion
    from localllm.records.runs import RunRecord


def own_measurements(hardware: Hardware) -> tuple[tuple[Observation, ...], str | None]:
    """Return what was measured on this machine, and why it cannot be read if it cannot.

    Nothing for another machine, and nothing with ``LOCALLLM_MEASUREMENTS=off``.
    """
    from localllm.records.keeping import own_observations

    try:
        return own_observations(hardware, now=datetime.now(UTC)), None
    except OSError as error:
        return (), f"Own measurements cannot be read: {error.strerror or error}."


def _kept_any() -> bool:
    """Whether there is a store at all: most plans need not read what reads one."""
    from localllm.records.state import measurements_path

    try:
        return measurements_path().exists()
    except OSError:
        return True  # whoever reads it says why it cannot be read


def _new_run(now: datetime) -> str:
    """Return a name that no other run has."""
    return f"{now:%Y%m%d-%H%M%S}-{os.urandom(3).hex()}"


class OwnRuns:
    """The measurements of one session: read once, added to after every run."""

    def __init__(self) -> None:
        """Read nothing yet."""
        self._problem: str | None = None
        self._keeps = True
        self._is_read = False
        self._calibration: Calibration | None = None
        self._run = ""
        self._unwritten: tuple[Plan, Loaded, str | None, datetime] | None = None

    def calibration(self, hardware: Hardware) -> Calibration | None:
        """Return what earlier runs on a machine say of its estimates; None where there were none.

        They are those of the session's beginning: estimates do not move while it lasts.
        """
        if not self._is_read and hardware.source == THIS_MACHINE:
            self._is_read = True
            observed, problem = own_measurements(hardware) if _kept_any() else ((), None)
            self._problem = self._problem or problem
            if observed:
                from localllm.core.calibration import Calibration

                self._calibration = Calibration(observed)
        return self._calibration

    def keep_load(self, plan: Plan, loaded: Loaded, *, content_id: str | None) -> None:
        """Keep planned beside allocated memory of a load; what follows belongs to it.

        It is written with the first thing that follows, or by ``close``: a first answer need not
        wait for it.
        """
        self.close()
        now = datetime.now(UTC)
        self._run = _new_run(now)
        self._unwritten = (plan, loaded, content_id, now)

    def close(self) -> None:
        """Write what has not been written yet."""
        if self._unwritten is None:
            return
        plan, loaded, content_id, now = self._unwritten
        self._unwritten = None

        def record(occasion: Occasion) -> RunRecord:
            from localllm.records.observed import load_record

            return load_record(plan, loaded, occasion)

        self._note(plan, record, content_id, now)

    def keep_answer(
        self,
        plan: Plan,
        stats: RunStats,
        *,
        content_id: str | None,
        prefill: Energy | Unmeasured | None = None,
        decode: Energy | Unmeasured | None = None,
        health: Sequence[Health] = (),
    ) -> None:
        """Keep an answer's speeds and energies beside their estimates.

        ``prefill``: energy of the prompt's new tokens; ``decode``: of tokens 2 to ``n_gen``; None
        where nobody looked. ``health``: how the devices were meanwhile.
        """
        from localllm.records.measured import runs_of_answer

        def record(occasion: Occasion) -> RunRecord | None:
            from localllm.records.observed import NOT_READ, answer_record

            return answer_record(
                plan,
                stats,
                occasion,
                prefill=prefill or NOT_READ,
                decode=decode or NOT_READ,
                health=health,
            )

        self._note(plan, record, content_id)
        self.keep(plan, runs_of_answer(stats), content_id=content_id)

    def keep_bench(
        self,
        plan: Plan,
        test: BenchTest,
        samples_ns: Sequence[int],
        *,
        content_id: str | None,
        energy: Energy | Unmeasured | None = None,
        energy_tokens: int | None = None,
        health: Sequence[Health] = (),
    ) -> None:
        """Keep a finished bench test beside its estimate.

        ``energy`` is that of ``energy_tokens`` tokens; None: of all that its repetitions computed.
        """
        from localllm.records.measured import run_of_bench

        def record(occasion: Occasion) -> RunRecord | None:
            from localllm.records.observed import NOT_READ, bench_record

            return bench_record(
                plan,
                test,
                samples_ns,
                occasion,
                energy=energy or NOT_READ,
                energy_tokens=energy_tokens,
                health=health,
            )

        self._note(plan, record, content_id)
        run = run_of_bench(test, samples_ns)
        self.keep(plan, () if run is None else (run,), content_id=content_id)

    def keep(
        self, plan: Plan | None, runs: tuple[TimedRun, ...], *, content_id: str | None
    ) -> None:
        """Keep runs beside the estimates of the plan that they ran under; see ``problem``."""
        if not runs or plan is None or not self._keeps or plan.power_limit_w is not None:
            return  # under a cap the formula would be told of what it does not leave out
        from localllm.records.keeping import keep_runs

        self.calibration(plan.hardware)  # read before it is added to
        try:
            keep_runs(plan, runs, now=datetime.now(UTC), content_id=content_id)
        except OSError as error:
            self._cannot_keep(error)

    def problem(self) -> str | None:
        """Return, once, why measurements cannot be read or kept: a sentence."""
        problem, self._problem = self._problem, None
        return problem

    def _note(
        self,
        plan: Plan,
        record: Callable[[Occasion], RunRecord | None],
        content_id: str | None,
        now: datetime | None = None,
    ) -> None:
        """Add what ``record`` makes of the occasion to the history, after what comes before it."""
        from localllm.records.keeping import engine_version, is_kept

        self.close()
        if not self._keeps or not is_kept(plan):
            return
        from localllm.records.history import HistoryStore
        from localllm.records.observed import Occasion
        from localllm.records.state import history_path

        now = now or datetime.now(UTC)
        self._run = self._run or _new_run(now)
        noted = record(
            Occasion(run=self._run, now=now, engine=engine_version(), content_id=content_id)
        )
        try:
            HistoryStore(history_path()).keep([] if noted is None else [noted])
        except OSError as error:
            self._cannot_keep(error)

    def _cannot_keep(self, error: OSError) -> None:
        self._keeps = False
        from localllm.records.state import state_dir

        reason = f"{error.strerror or error} ({error.filename or state_dir()})"
        self._problem = f"What was measured could not be kept: {reason}."
