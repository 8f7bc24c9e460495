"""The one way from the screens to the machine: sessions, each in a lane of its own.

Every method blocks, and is called in a thread (``threads.py``). A session serves one caller at a
time, so there are lanes that do not wait for each other: names that are looked up, plans by the
formulas, proofs by llama.cpp's allocator, and the engine with the loaded model (``lanes.py``).
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import TYPE_CHECKING

from localllm import keeping, lookups
from localllm.core.change import with_one_more
from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.plan import Plan
from localllm.finding import Watch
from localllm.gauging import Gauges
from localllm.records.state import measurements_path
from localllm.session import Session, hardware_named, known_models, own_measurements
from localllm.tui.lanes import EngineLane, Proofs, RunSession
from localllm.tui.subject import ONE_MORE, Planned, Subject

if TYPE_CHECKING:
    from localllm.choosing import Decided
    from localllm.core.calibration import Observation
    from localllm.core.kept import Inventory
    from localllm.core.metered.meters import SeenMeters
    from localllm.core.recommendation import Known
    from localllm.doctor import Facts
    from localllm.tui.messages import Place


_MACHINES_KEPT = 6
"""Of those that were planned for; which was not used for longest goes first."""


class Desk:
    """Sessions for the screens. Close it."""

    def __init__(self, *, machine: Hardware | None = None, exact: bool = True) -> None:
        """Ask and start nothing yet.

        ``machine``: instead of the one that is detected; ``exact``: whether plans are proven by
        llama.cpp's allocator.
        """
        self._exact = exact
        self._here: Hardware | None = machine
        self._detecting = threading.Lock()
        self._finding = threading.Lock()
        self._formula_lane = threading.RLock()
        self._formula: dict[tuple[str, ...], Session] = {}
        self._measured = _stamp()
        self._proofs = Proofs(self.hardware)
        self._engine = EngineLane(self.hardware, loads=self._proofs.paused)

    # -- the machine -----------------------------------------------------------------------------

    def hardware(self, machines: tuple[str, ...] = ()) -> Hardware:
        """Return this machine, detected once, or one by its profiles, see ``Subject.machines``.

        Raises UsageError with the nearest names for an unknown profile.
        """
        if machines and machines[-1] == ONE_MORE:
            return with_one_more(self.hardware(machines[:-1]))
        if machines and machines != (THIS_MACHINE,):
            return hardware_named(*machines)
        with self._detecting:
            if self._here is None:
                self._here = Session().hardware
            return self._here

    def detect_again(self) -> Hardware:
        """Look at this machine anew: memory is held and let go of while the UI is open."""
        self._proofs.end()  # what it holds is not to be seen as taken
        with self._detecting:
            here = self._here = Session().hardware
        with self._formula_lane:
            for machines in [m for m in self._formula if m[:1] in ((), (THIS_MACHINE,))]:
                self._formula.pop(machines).close()
        return here

    def measure_bandwidth(self) -> Hardware:
        """Return this machine with the bandwidth of its RAM measured, in about a second.

        Only to be shown: plans stand on the same figures as before.
        """
        measured = lookups.detect_hardware(measure_bandwidth=True).host
        here = self.hardware()
        host = replace(
            here.host,
            memory_bandwidth_gb_s=measured.memory_bandwidth_gb_s,
            memory_bandwidth_basis=measured.memory_bandwidth_basis,
            unknown=measured.unknown,
        )
        return replace(here, host=host)

    def gauges(self, hardware: Hardware) -> Gauges:
        """Return what reads this machine about once a second; it wakes no GPU."""
        return Gauges(hardware)

    def meters(self, hardware: Hardware) -> SeenMeters:
        """Return the power meters of this machine; it wakes no GPU."""
        return lookups.power_meters(hardware)

    def gpu_sleeps(self) -> bool:
        """Return whether ``check_up`` would wake a laptop's GPU."""
        return lookups.gpu_sleeps()

    def check_up(self) -> Facts:
        """Return what the doctor looks at. Asks llama.cpp, in about half a second."""
        from localllm.doctor import gather

        return gather(stdout=sys.__stdout__)

    def own_measurements(self, hardware: Hardware) -> tuple[tuple[Observation, ...], str | None]:
        """Return what was measured here, and why it cannot be read if it cannot."""
        return own_measurements(hardware)

    def learnt(self) -> Hashable:
        """Return what is another value once something was measured, and plan by that from then on.

        A session's estimates are those of its beginning, so sessions that only plan begin anew.
        """
        measured = _stamp()
        with self._formula_lane:
            if measured != self._measured:
                self._measured = measured
                while self._formula:
                    self._formula.popitem()[1].close()
                self._proofs.end()
        return measured

    # -- models ----------------------------------------------------------------------------------

    def here(self) -> Inventory:
        """Return the models that are here, of all keepers."""
        return keeping.kept_models()

    def known(self) -> tuple[Known, ...]:
        """Return the models with a recorded shape."""
        return known_models()

    def seek(self, subject: Subject, *, to_run: bool, watch: Watch | None = None) -> Decided:
        """Look a name up in a lane of its own: the Hub may take minutes, and nobody waits for it.

        ``to_run``: what must be fetched to run it is decided, too. Raises what ``find`` does.
        """
        assert subject.name is not None
        hardware = self.hardware(subject.machines)
        with Session(hardware=hardware, basis="formula") as session:
            find = session.find if to_run else session.find_for_plan
            return find(subject.name, subject.wishes, watch=watch)

    # -- plans -----------------------------------------------------------------------------------

    def find(self, subject: Subject, *, watch: Watch | None = None) -> Decided:
        """Return what a subject's name means to be planned. Raises ``Session.find_for_plan``'s."""
        found = self.find_if(subject, wanted=lambda: True, watch=watch)
        assert found is not None
        return found

    def find_if(
        self, subject: Subject, *, wanted: Callable[[], bool], watch: Watch | None = None
    ) -> Decided | None:
        """``find``, one at a time; None where that is no longer ``wanted`` when its turn comes.

        A search that has to wait for a server lets the next one go first.
        """
        assert subject.name is not None
        session = self._session(subject.machines)
        turn = contextlib.ExitStack()
        with turn:
            turn.enter_context(self._finding)
            if not wanted():
                return None
            heard = letting_go(watch or Watch(), turn.close)
            return session.find_for_plan(subject.name, subject.wishes, watch=heard)

    def plan(
        self,
        subject: Subject,
        *,
        decided: Decided | None = None,
        with_counterfactuals: bool = True,
    ) -> Planned:
        """Plan a subject by the formulas.

        ``decided``: what was found for the same wishes, so that nothing is looked up again. Without
        counterfactuals it is many times quicker where no GPU holds the model whole. Raises what
        ``find`` does, and UsageError for wishes that contradict each other.
        """
        self.learnt()
        found = decided or self.find(subject)
        with self._formula_lane:
            session = self._session(subject.machines)
            made = session.plan_decided(found, with_counterfactuals=with_counterfactuals)
            return Planned(subject=subject, decided=found, plan=made)

    def prove(self, planned: Planned, *, wanted: Callable[[], bool]) -> Plan | None:
        """Plan once more, with llama.cpp's own allocator; None where that is no longer ``wanted``.

        Where it cannot be asked the plan's ``basis_reason`` says why. Waits while a model is being
        loaded.
        """
        return self._proofs.prove(planned, wanted=wanted) if self._exact else None

    def formula_session(self, machines: tuple[str, ...] = ()) -> Session:
        """Return a session that plans by the formulas, for what has no method here.

        Use it inside ``with desk.planning():``.
        """
        return self._session(machines)

    def planning(self) -> threading.RLock:
        """Return the lock of the formulas' lane."""
        return self._formula_lane

    # -- running ---------------------------------------------------------------------------------

    def prepare_engine(self) -> None:
        """Start the engine's process, which gets ready while the person still reads."""
        self.run_session()

    def run_session(self) -> RunSession:
        """Return the session with the engine: it holds the loaded model, for chat or bench.

        Its iterators are for one thread at a time. Once it is ``closed`` there is another one here.
        Raises EngineError where the app is being left.
        """
        return self._engine.session()

    @property
    def engine_holder(self) -> Place | None:
        """The place that loads, answers or measures at the moment; never blocks."""
        return self._engine.holder

    def take_engine(self, place: Place) -> bool:
        """Have the engine, right before it is released or loads; False where another has it.

        Never blocks. ``give_engine`` follows, as often as this returned True.
        """
        return self._engine.take(place)

    def give_engine(self, place: Place) -> None:
        """Let others have the engine; the loaded model stays."""
        self._engine.give(place)

    @property
    def running(self) -> RunSession | None:
        """The session with the engine, if there is one already; never blocks."""
        return self._engine.running

    def release(self) -> None:
        """Let go of the loaded model and of everything that holds memory for a plan.

        Whatever they are doing ends; ``run_session`` is another one afterwards.
        """
        self._proofs.end()
        self._engine.end()

    def close(self) -> None:
        """End every process that was started, whatever it is doing."""
        self._proofs.close()
        self._engine.close()

    def _session(self, machines: tuple[str, ...]) -> Session:
        with self._formula_lane:
            session = self._formula.pop(machines, None)
            if session is None:
                session = Session(hardware=self.hardware(machines), basis="formula")
                _ = session.calibration  # read once, here: it is asked for in several threads
            self._formula[machines] = session  # the last one used is the last
            while len(self._formula) > _MACHINES_KEPT:
                self._formula.pop(next(iter(self._formula))).close()
            return session


def _stamp() -> tuple[int, int] | None:
    """When the measurements of this machine were last added to; None where there are none."""
    try:
        state = measurements_path().stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size


def letting_go(watch: Watch, let_go: Callable[[], None]) -> Watch:
    """Return a watch that hears the same; ``let_go`` is called when a server is first waited for.

    Once or more often, in the thread that searches.
    """

    def on_reading(n_bytes: int, waiting_for: str | None) -> None:
        let_go()
        watch.on_reading(n_bytes, waiting_for)

    def on_step(text: str) -> None:
        let_go()
        watch.on_step(text)

    return replace(watch, on_reading=on_reading, on_step=on_step)
