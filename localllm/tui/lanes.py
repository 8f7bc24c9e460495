"""The sessions behind the desk: one that proves plans, one that holds the loaded model.

A session serves one caller at a time, so each has a lock. They may be closed from any thread
whatever goes on in them: a lock is held over work, never over an end.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

from localllm.core.generation import Died, Failed, Loaded
from localllm.core.hardware import Hardware
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.errors import EngineError
from localllm.session import LocalModel, Session
from localllm.tui.subject import Planned

if TYPE_CHECKING:
    from localllm.core.generation import Engine
    from localllm.running import RunEvent
    from localllm.tui.messages import Place

LOOK_S = 0.1
"""How often somebody who waits for a turn looks whether it is still wanted."""

_ENDS = (Loaded, Failed, Died)

Machine = Callable[[tuple[str, ...]], Hardware]
"""Returns a machine by the names of its profiles; this one without any."""


class Proofs:
    """Plans by llama.cpp's allocator, one at a time. Its child stays warm between them.

    While a model is loaded there is no such child: the memory is the engine's.
    """

    def __init__(self, machine: Machine) -> None:
        """Start nothing yet."""
        self._machine = machine
        self._lane = threading.Lock()
        self._state = threading.Lock()
        self._session: Session | None = None
        self._n_loads = 0
        self._closed = False

    def prove(self, planned: Planned, *, wanted: Callable[[], bool]) -> Plan | None:
        """Return the plan as proven; None where that is no longer ``wanted``.

        A proof that a load interrupts is made again after it.
        """
        while not self._closed and wanted():
            if self._n_loads:
                time.sleep(LOOK_S)
            elif self._lane.acquire(timeout=LOOK_S):
                try:
                    made = self._proven(planned) if wanted() else None
                finally:
                    self._lane.release()
                if made is not None:
                    return made
        return None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold no memory for proofs; they wait for the end of this."""
        with self._state:
            self._n_loads += 1
        try:
            self.end()
            yield
        finally:
            with self._state:
                self._n_loads -= 1

    def end(self) -> None:
        """End the child, whatever it is asked; the next proof starts another."""
        with self._state:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def close(self) -> None:
        """End the child for good."""
        self._closed = True
        self.end()

    def _proven(self, planned: Planned) -> Plan | None:
        """Return a plan; None where a load came first, or in between."""
        session = self._session_for(planned.subject.machines)
        if session is None:
            return None
        try:
            plan = session.plan_decided(planned.decided)
            return plan if session is self._session else None
        finally:
            if session is not self._session:  # ended meanwhile, it may have begun anew
                session.close()

    def _session_for(self, machines: tuple[str, ...]) -> Session | None:
        """Return the session for a machine; None while there is to be none."""
        hardware = self._machine(machines)
        with self._state:
            if self._closed or self._n_loads:
                return None
            before = self._session
            if before is not None and before.hardware == hardware:
                return before
            session = self._session = Session(hardware=hardware)
        if before is not None:
            before.close()
        return session


class RunSession(Session):
    """A session whose loads begin by taking the memory that proofs hold."""

    def __init__(
        self,
        *,
        hardware: Hardware | None = None,
        engine: Engine | None = None,
        machine: Callable[[], Hardware] | None = None,
        loads: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Take a machine and an engine as ``Session`` does. ``loads``: entered for each load.

        ``machine`` returns it as it was seen last, where it is looked at again.
        """
        super().__init__(hardware=hardware, engine=engine)
        self._machine = machine
        self._loads = loads
        self.closed = False
        """Whether it can load nothing any more: ``Desk.run_session`` has another one then."""

    @property
    def hardware(self) -> Hardware:
        """The machine, as it was seen last."""
        return super().hardware if self._machine is None else self._machine()

    def load(
        self,
        model: LocalModel,
        plan: Plan,
        policy: Policy | None = None,
        *,
        asked: Policy | None = None,
        proves: bool = False,
    ) -> Iterator[RunEvent]:
        """Load a model, see ``Serving.load``."""
        with ExitStack() as loading:
            loading.enter_context(self._loads())
            for event in super().load(model, plan, policy, asked=asked, proves=proves):
                if isinstance(event, _ENDS):  # many a caller takes no more
                    loading.close()
                yield event

    def close(self) -> None:
        """End the engine's process."""
        self.closed = True
        super().close()


class EngineLane:
    """At most one session with an engine at a time."""

    def __init__(self, machine: Machine, *, loads: Callable[[], AbstractContextManager[None]]):
        """Start nothing yet. ``loads``: entered for each load."""
        self._machine = machine
        self._loads = loads
        self._starting = threading.Lock()
        self._state = threading.Lock()
        self._session: RunSession | None = None
        self._closed = False
        self._holder: Place | None = None
        self._n_taken = 0

    @property
    def holder(self) -> Place | None:
        """Who loads, answers or measures at the moment."""
        return self._holder

    def take(self, place: Place) -> bool:
        """Have the engine for a place, which gives it as often as it took it; False: it is had."""
        with self._state:
            if self._holder not in (None, place):
                return False
            self._holder = place
            self._n_taken += 1
            return True

    def give(self, place: Place) -> None:
        """Give back what a place has taken."""
        with self._state:
            assert self._holder == place, "who gives has taken"
            self._n_taken -= 1
            if not self._n_taken:
                self._holder = None

    @property
    def running(self) -> RunSession | None:
        """The session, if there is one already; never blocks."""
        session = self._session
        return None if session is None or session.closed else session

    def session(self) -> RunSession:
        """Return the session, its engine's process starting. Raises EngineError after the end."""
        with self._starting:
            session = self.running
            if session is not None:
                return session
            from localllm.starting import start_engine

            machine = functools.partial(self._machine, ())
            session = RunSession(engine=start_engine(), machine=machine, loads=self._loads)
            with self._state:
                if not self._closed:
                    self._session = session
                    return session
        session.close()
        raise EngineError("The terminal UI is being left.")

    def end(self) -> None:
        """End the process with the model, whatever it is doing; the next session has another."""
        with self._state:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def close(self) -> None:
        """End it for good."""
        self._closed = True
        self.end()
