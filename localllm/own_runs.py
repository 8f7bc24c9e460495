"""What was measured on this machine: kept after a run, and what it says of the next estimate.

Composition only: the file is ``records/measurements.py``'s, the arithmetic
``core/calibration.py``'s. A store that cannot be read or written is a sentence for the person,
never an end of what they were doing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.plan import Plan

if TYPE_CHECKING:
    from localllm.core.calibration import Calibration, Observation
    from localllm.records.measured import TimedRun


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


class OwnRuns:
    """The measurements of one session: read once, added to after every run."""

    def __init__(self) -> None:
        """Read nothing yet."""
        self._problem: str | None = None
        self._keeps = True
        self._is_read = False
        self._calibration: Calibration | None = None

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

    def keep(
        self, plan: Plan | None, runs: tuple[TimedRun, ...], *, content_id: str | None
    ) -> None:
        """Keep runs beside the estimates of the plan that they ran under; see ``problem``."""
        if not runs or plan is None or not self._keeps or plan.power_limit_w is not None:
            return  # under a cap the formula would be told of what it does not leave out
        from localllm.records.keeping import keep_runs

        try:
            keep_runs(plan, runs, now=datetime.now(UTC), content_id=content_id)
        except OSError as error:
            self._keeps = False
            reason = error.strerror or str(error)
            self._problem = f"What was measured could not be kept: {reason}."

    def problem(self) -> str | None:
        """Return, once, why measurements cannot be read or kept: a sentence."""
        problem, self._problem = self._problem, None
        return problem
