"""The one model that is loaded at a time, for the configuration whose turn it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from localllm import __version__
from localllm.benching.planned import Planned
from localllm.benching.stopping import Stop
from localllm.core.bench.activity import Loading, OnProgress, Progress
from localllm.core.bench.setup import BenchSetup, Mode
from localllm.core.generation import Died, EngineInfo, Event, Failed, Loaded, LoadProgress
from localllm.core.metered.readings import Energy, Health, Unmeasured
from localllm.core.reconcile import Comparison
from localllm.errors import DoesNotFitError, EngineError
from localllm.words.failures import failure

if TYPE_CHECKING:
    from localllm.session import Session

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A loaded model."""

    session: Session
    setup: BenchSetup
    memory: tuple[Comparison, ...]
    loaded: Loaded

    def check_still_loaded(self) -> None:
        """Raise EngineError where others have loaded something else: that is not measured."""
        if self.session.loaded is not self.loaded:
            raise EngineError(
                "Something else was loaded meanwhile.",
                hint="Measure again, and load nothing until it has ended.",
            )

    def energy_between(self, began_s: float, ended_s: float) -> Energy | Unmeasured:
        """Return what was taken between two moments of ``time.monotonic``, or why nobody knows."""
        meters = self.session.measuring.meters
        if meters is None:
            return Unmeasured(reason="no model is loaded")
        return meters.energy_between(began_s, ended_s)

    def health_since(self, began_s: float) -> tuple[Health, ...]:
        """Return every look at the devices since a moment."""
        meters = self.session.measuring.meters
        return () if meters is None else meters.health_since(began_s)

    def power_trace(self, began_s: float, ended_s: float) -> tuple[tuple[float, float], ...]:
        """Return moments and watts, for a picture."""
        meters = self.session.measuring.meters
        return () if meters is None else meters.power_trace(began_s, ended_s)


class Loader:
    """Loads configurations, and keeps a model that the next configuration would load again."""

    def __init__(self, session: Session, engine: EngineInfo, mode: Mode) -> None:
        """Take the session that the plans were made with; the first load uses it."""
        self._session = session
        self._engine = engine
        self._mode = mode
        self._loaded: tuple[Planned, Loaded] | None = None

    def load(self, planned: Planned, *, on_progress: OnProgress, stop: Stop) -> Running:
        """Return the loaded model.

        Raises DoesNotFitError where memory runs out, EngineError, Stopped.
        """
        if self._loaded is not None and _same_load(self._loaded[0], planned):
            return self._running(planned, self._loaded[1])
        self._loaded = None
        session = self._session_for(planned)
        loaded = None
        # Without its policy: what was asked for is measured as it is, or not at all.
        for event in _until_stopped(session.load(planned.local, planned.plan), stop):
            if isinstance(event, LoadProgress):
                step = Loading(model=planned.plan.model.name, fraction=event.fraction)
                on_progress(Progress(step=step))
            elif isinstance(event, Loaded):
                loaded = event
            elif isinstance(event, Failed | Died):
                raise _load_failure(event)
        assert loaded is not None  # a load ends in one of the three
        if session.measuring.meters is not None:
            session.measuring.meters.wait_open()
        self._loaded = (planned, loaded)
        return self._running(planned, loaded)

    def cancel(self) -> None:
        """Ask the engine to end what it is doing; safe from any thread."""
        self._session.cancel()

    def close(self) -> None:
        """End the engine."""
        self._session.close()

    def close_other(self, session: Session) -> None:
        """End the engine of another session than this, if there is one."""
        if self._session is not session:
            self._session.close()

    def measurement_problem(self) -> str | None:
        """Return, once, why what was measured could not be kept."""
        return self._session.measuring.problem()

    def _session_for(self, planned: Planned) -> Session:
        """Return a session on the configuration's devices; another's engine is ended first."""
        if planned.hardware != self._session.hardware:
            self._session.close()
            self._session = type(self._session)(hardware=planned.hardware)
        return self._session

    def _running(self, planned: Planned, loaded: Loaded) -> Running:
        session, policy = self._session, planned.configuration.policy
        plan = session.plan or planned.plan  # what really runs
        memory = session.memory_comparison()
        return Running(
            session=session,
            setup=BenchSetup(
                plan=plan,
                engine=self._engine,
                name=planned.local.name,
                model_path=str(planned.local.paths[0]),
                model_type=loaded.description,
                n_batch=policy.n_batch or plan.n_batch,
                n_ubatch=policy.n_ubatch or plan.n_ubatch,
                n_cpu_moe=policy.n_cpu_moe or 0,
                split_mode=planned.configuration.split_mode,
                main_gpu=planned.configuration.main_gpu,
                measured_bytes=sum(one.measured_bytes for one in memory) if memory else None,
                content_id=planned.local.content_id,
                version=__version__,
                mode=self._mode,
            ),
            memory=memory,
            loaded=loaded,
        )


def checked(events: Iterator[Event], stop: Stop) -> Iterator[Event]:
    """Pass events on; a refusal or a death of the engine is raised as its error. Raises Stopped."""
    for event in _until_stopped(events, stop):
        if isinstance(event, Failed | Died):
            raise failure(event)
        yield event


def _until_stopped(events: Iterator[T], stop: Stop) -> Iterator[T]:
    """Pass events on; a death is told even where somebody has asked for an end."""
    for event in events:
        if not isinstance(event, Died):
            stop.check()
        yield event


def _load_failure(event: Failed | Died) -> Exception:
    no_memory = event.out_of_memory if isinstance(event, Died) else event.code == "out_of_memory"
    if no_memory:
        return DoesNotFitError(event.message, hint=event.hint)
    return failure(event)


def _same_load(one: Planned, other: Planned) -> bool:
    """Whether two configurations come to the same flags of llama.cpp on the same devices."""
    return (
        one.local.paths == other.local.paths
        and one.hardware == other.hardware
        and one.plan.llama_args == other.plan.llama_args
    )
