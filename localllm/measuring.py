"""What one session measures and learns: the meters of what is loaded, and what is kept of runs.

Composition only: meters are ``metering.py``'s, speeds and energies ``own_runs.py``'s, memory that
ran out ``records/shortfalls.py``'s. None of them ends what a person is doing: what cannot be read
or kept is a sentence (``problem``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from localllm.core.hardware import Hardware
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.own_runs import OwnRuns

if TYPE_CHECKING:
    from localllm.core.calibration import Calibration
    from localllm.core.generation import BenchTest, Event, Finished, Loaded
    from localllm.core.joules import AnswerEnergy
    from localllm.core.metered.readings import Energy, Health, Unmeasured
    from localllm.core.model import ModelSpec
    from localllm.core.shortfall import Shortfall
    from localllm.metering import Meters
    from localllm.records.shortfalls import OwnShortfalls


class Measuring:
    """One session's measurements; at most one model is measured at a time."""

    def __init__(self) -> None:
        """Read and open nothing yet."""
        self.meters: Meters | None = None
        """Those of the loaded model."""
        self._plan: Plan | None = None
        self._content_id: str | None = None
        self._own_runs = OwnRuns()
        self._own_shortfalls: OwnShortfalls | None = None

    # -- what is known ---------------------------------------------------------------------------

    def calibration(self, hardware: Hardware) -> Calibration | None:
        """Return what earlier runs on a machine say of the estimates; None where there were none.

        They are those of the session's beginning: estimates do not move while it lasts.
        """
        return self._own_runs.calibration(hardware)

    def learnt(
        self, model: ModelSpec, hardware: Hardware, policy: Policy
    ) -> tuple[Policy, tuple[str, ...]]:
        """Return a policy with what loads that ran out of memory have taught, and the reasons."""
        known = self._shortfalls().known(model, hardware)
        if not known:
            return policy, ()
        from localllm.core.shortfall import with_shortfalls

        return with_shortfalls(policy, known)

    def problem(self) -> str | None:
        """Return, once, why something cannot be read or kept: a sentence."""
        own = self._own_shortfalls
        return self._own_runs.problem() or (own.problem() if own is not None else None)

    # -- a load ----------------------------------------------------------------------------------

    def begin(
        self, plan: Plan, *, content_id: str | None, own_pid: Callable[[], int | None]
    ) -> None:
        """A load begins; the meters of its devices are opened meanwhile.

        ``own_pid``: the process that computes, as soon as there is one.
        """
        self._close_meters()
        self._plan, self._content_id = plan, content_id
        from localllm.metering import Meters  # while the model loads: 15 ms before it is not

        self.meters = Meters(plan, own_pid=own_pid)
        self.meters.open()

    def loaded(self, loaded: Loaded) -> None:
        """Keep planned beside allocated memory; what follows belongs to this load."""
        if self._plan is not None:
            self._own_runs.keep_load(self._plan, loaded, content_id=self._content_id)

    def ran_short(self, learnt: tuple[Shortfall, ...], hardware: Hardware) -> None:
        """Remember where memory ran out."""
        self._shortfalls().remember(learnt, hardware)

    def held(self, plan: Plan, policy: Policy) -> None:
        """Forget what a plan that loaded has disproved."""
        self._shortfalls().held(plan, policy)

    # -- a run -----------------------------------------------------------------------------------

    def metered(self, events: Iterator[Event]) -> Iterator[Event]:
        """Pass a run's events on, with the meters reading meanwhile."""
        meters = self.meters
        if meters is None:
            yield from events
            return
        from localllm.core.generation import TextDelta

        meters.start()
        decodes = False
        try:
            for event in events:
                if not decodes and isinstance(event, TextDelta):
                    decodes = True
                    meters.mark()
                yield event
        finally:
            meters.rest()

    def keep_answer(self, finished: Finished) -> AnswerEnergy | None:
        """Keep what an answer took beside its estimates, and return its energy if it was read."""
        if self._plan is None:
            return None
        energy: AnswerEnergy | None = None
        health: tuple[Health, ...] = ()
        if self.meters is not None and finished.timeline is not None:
            energy = self.meters.answer(finished.timeline)
            health = self.meters.health_since(finished.timeline.prompt_began_s)
        self._own_runs.keep_answer(
            self._plan,
            finished.stats,
            content_id=self._content_id,
            prefill=None if energy is None else energy.prefill,
            decode=None if energy is None else energy.decode,
            health=health,
        )
        return energy

    def keep_bench(
        self,
        test: BenchTest,
        samples_ns: Sequence[int],
        *,
        energy: Energy | Unmeasured | None = None,
        energy_tokens: int | None = None,
        health: Sequence[Health] = (),
    ) -> None:
        """Keep a finished bench test beside its estimates; a mixed one moves no later estimate."""
        if self._plan is not None:
            self._own_runs.keep_bench(
                self._plan,
                test,
                samples_ns,
                content_id=self._content_id,
                energy=energy,
                energy_tokens=energy_tokens,
                health=health,
            )

    def close(self) -> None:
        """Close the meters, and write what has not been written."""
        self._close_meters()
        self._own_runs.close()

    def _close_meters(self) -> None:
        if self.meters is not None:
            self.meters.close()
            self.meters = None

    def _shortfalls(self) -> OwnShortfalls:
        if self._own_shortfalls is None:
            from localllm.records.shortfalls import OwnShortfalls

            self._own_shortfalls = OwnShortfalls()
        return self._own_shortfalls
