"""``core.generation.Engine`` over a child process: requests out, events in, deaths explained.

What ends a child that does not end by itself is decided in ``watch``.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from localllm.core.generation import (
    BenchTest,
    ChatRequest,
    CompletionRequest,
    Died,
    Event,
    Failed,
)
from localllm.engine.devices import simulated_spec
from localllm.engine.listening import listen
from localllm.engine.process import EngineProcess
from localllm.engine.protocol import (
    TERMINAL,
    BenchRequest,
    FaultRequest,
    LoadRequest,
    PingRequest,
    ProveRequest,
    Request,
    encode_request,
)
from localllm.engine.turns import Ticket, Turn
from localllm.engine.watch import Watch, no_sign
from localllm.errors import EngineError

if TYPE_CHECKING:
    from localllm.core.hardware import Device
    from localllm.core.plan import Plan
    from localllm.engine.death import Phase

LOAD_CANCELLED = Failed(error="EngineError", message="The load was cancelled.", code="cancelled")


class EngineClient:
    """An ``Engine``. ``with EngineClient() as engine:`` ends its process at the end.

    A request that starts while another thread's is running waits for it; in the same thread that is
    a bug of the caller and raises ``RuntimeError``.
    """

    def __init__(
        self,
        *,
        watchdog_s: float = 30.0,
        cancel_grace_s: float = 2.0,
        simulated: Sequence[Device] = (),
    ) -> None:
        """Start nothing yet: the first load does.

        ``simulated``: devices that do not exist, with the memory and the ways of theirs, whose work
        the CPU does. A plan places layers on them by name.
        """
        self._simulated = tuple(map(simulated_spec, simulated))
        self._watchdog_s = watchdog_s
        self._cancel_grace_s = cancel_grace_s
        self._stall_s = watchdog_s
        self._process: EngineProcess | None = None
        self._used = False
        """Whether the process has been asked to load; the next load then starts another."""
        self._died_answering = False
        """Whether a process died in mid-answer: the next leaves out what is experimental."""
        self._closed = False
        self._ids = itertools.count(1)
        self._running = 0
        """Id of the running request; 0 between requests."""
        self._cancelled = 0
        """Id of the last request that was asked to stop."""
        self._turn = Turn()

    # -- Engine --------------------------------------------------------------------------------

    def load(self, plan: Plan, paths: tuple[str, ...]) -> Iterator[Event]:
        """Load the model of ``plan`` in a new process; a loaded one is let go first."""
        chunk_s = 0.1 * plan.n_ubatch  # 10 tokens/s, where no estimate is known
        if plan.speed is not None and plan.speed.pp_tok_s:
            chunk_s = plan.n_ubatch / plan.speed.pp_tok_s
        self._stall_s = max(self._watchdog_s, min(5 * chunk_s, 20 * self._watchdog_s))
        request = LoadRequest.of(plan, paths, device_sampling=not self._died_answering)
        return self._run("load", request)

    def chat(self, request: ChatRequest) -> Iterator[Event]:
        """Answer a conversation."""
        return self._run("prompt", request)

    def complete(self, request: CompletionRequest) -> Iterator[Event]:
        """Continue a plain text."""
        return self._run("prompt", request)

    def bench(self, tests: tuple[BenchTest, ...]) -> Iterator[Event]:
        """Run bench tests on the loaded model."""
        return self._run("bench", BenchRequest(tests=tests))

    def prove(self) -> Iterator[Event]:
        """Fill the context once, with progress, and forget it again."""
        return self._run("prompt", ProveRequest())

    def cancel(self) -> None:
        """Ask the running request to stop; safe from any thread, and from a signal handler."""
        request_id = self._running
        if request_id:
            self._cancelled = request_id
            process = self._process
            if process is not None:
                process.cancel(request_id)

    def unload(self) -> None:
        """End the process of an earlier load, so that its memory is free; the next starts anew."""
        process = self._process
        if process is not None and self._used and not self._running:
            process.kill(timeout_s=5.0)
            self._drop(process)

    def close(self) -> None:
        """End the process, within two seconds, whatever it is doing. Later requests fail."""
        self._closed = True
        process = self._process
        if process is None:
            return
        process.kill(timeout_s=1.5)
        ticket = self._turn.take(timeout_s=0.3)
        if ticket is not None:  # else a reader is about to see the end, and lets go itself
            self._drop(process)
            ticket.release()

    # -- beyond the protocol -------------------------------------------------------------------

    def start(self) -> None:
        """Start the process before the first load: it gets ready while the caller plans.

        Not needed, and never an error here: a process that cannot start is the load's to report.
        """
        ticket = self._turn.take_or_raise()
        try:
            if self._process is None and not self._closed:
                with contextlib.suppress(EngineError):
                    self._start()
        finally:
            ticket.release()

    @property
    def pid(self) -> int | None:
        """Process id of the running child, for meters and for tests."""
        process = self._process
        return process.pid if process is not None and process.alive else None

    def ping(self, *, patience_s: float = 5.0) -> Died | None:
        """Return the death of a child that does not answer, and None where it does or none runs.

        For moments after which a GPU may be lost while nothing seems wrong: a suspended machine
        that wakes up. The child asks its devices; one that has not answered after ``patience_s`` is
        ended. Waits for a request of another thread; inside one of its own that is a bug.
        """
        if self._process is None or self._closed:
            return None
        died = None
        for event in self._run("idle", PingRequest(), patience_s=patience_s):
            died = event if isinstance(event, Died) else None
        return died

    def inject_fault(self, fault: FaultRequest) -> Iterator[Event]:
        """Break the child on purpose, for tests; it refuses unless ``LOCALLLM_ENGINE_TEST=1``."""
        return self._run("generate", fault)

    def __enter__(self) -> EngineClient:
        """Return the engine itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the engine."""
        self.close()

    # -- one request ---------------------------------------------------------------------------

    def _run(
        self, phase: Phase, request: Request, *, patience_s: float | None = None
    ) -> Iterator[Event]:
        """Send a request and yield its events up to the terminal one.

        ``patience_s``: how long the child may be silent or idle, if not the watchdog's time.
        """
        request_id = next(self._ids)
        line = encode_request(request_id, request)
        ticket = self._turn.take_or_raise()
        self._running = request_id
        open_process: EngineProcess | None = None
        sent = False
        try:
            process = self._process_for(request)
            open_process = process
            process.ring.clear()
            began_s = time.monotonic()
            if not process.send(line, timeout_s=self._watchdog_s):
                # One that has just died refuses at once, also before anybody knows that it did.
                waited = time.monotonic() - began_s >= self._watchdog_s
                hung = no_sign(self._watchdog_s) if waited and process.alive else None
                open_process = None
                event: Event = self._bury(process, "idle", hung)
                self._end(request_id, ticket)
                yield event
                return
            sent = True
            if self._cancelled == request_id:  # asked for while the process was starting
                process.cancel(request_id)
            for event in self._events(process, request_id, phase, patience_s=patience_s):
                if type(event) in TERMINAL:
                    open_process = None
                    self._end(request_id, ticket)
                yield event
            open_process = None  # a pong ends its request, and is no event
        except EngineError as error:
            open_process = None
            self._end(request_id, ticket)
            yield Failed(error="EngineError", message=error.message, hint=error.hint)
        finally:
            try:
                if open_process is not None:
                    self._abandon(open_process, request_id, phase, sent=sent)
            finally:
                self._end(request_id, ticket)

    def _end(self, request_id: int, ticket: Ticket) -> None:
        if self._running == request_id:
            self._running = 0
        ticket.release()

    def _process_for(self, request: Request) -> EngineProcess:
        """Return the process for a request: a fresh one for a load. Raises ``EngineError``."""
        if self._closed:
            raise EngineError("The engine is closed.")
        loads = isinstance(request, LoadRequest)
        if self._process is not None and loads and self._used:
            self._process.kill(timeout_s=5.0)  # its memory must be free before the next load
            self._drop(self._process)
        if self._process is None:
            if not loads and not isinstance(request, FaultRequest):
                raise EngineError("No model is loaded.", hint="Load a model first.")
            self._start()
        assert self._process is not None
        self._used = self._used or loads
        return self._process

    def _start(self) -> None:
        """Start a process that has loaded nothing. Raises ``EngineError``."""
        self._process = EngineProcess(
            beat_s=min(1.0, self._watchdog_s / 4), simulated=self._simulated
        )
        self._used = False

    def _events(
        self,
        process: EngineProcess,
        request_id: int,
        phase: Phase,
        *,
        patience_s: float | None = None,
    ) -> Iterator[Event]:
        """Yield the events of one request, watching over the child meanwhile."""
        watch = Watch(
            silence_s=patience_s or self._watchdog_s,
            stall_s=patience_s or self._stall_s,
            cancel_grace_s=self._cancel_grace_s,
            loads=phase == "load",
        )
        return listen(
            process,
            request_id,
            phase=phase,
            watch=watch,
            is_cancelled=lambda: self._cancelled == request_id,
            bury=functools.partial(self._bury, process),
        )

    def _abandon(
        self, process: EngineProcess, request_id: int, phase: Phase, *, sent: bool
    ) -> None:
        """Cancel a request whose consumer has gone, and wait until the child is ready again."""
        ready = False
        try:
            if sent:
                self._cancelled = request_id
                process.cancel(request_id)
                for _ in self._events(process, request_id, phase):
                    pass
                ready = True
        finally:
            if not ready:  # half a request was written, or the wait was interrupted
                process.kill(timeout_s=1.0)
                self._drop(process)

    def _bury(
        self, process: EngineProcess, phase: Phase, reason: str | None, *, gave_up: bool = False
    ) -> Died | Failed:
        """Reap a child that ended, or end it for a reason, and say what happened.

        ``gave_up``: nothing was wrong with it but that it did not hear a cancellation in time.
        """
        from localllm.engine.death import died  # a child that lives needs no autopsy

        phase = phase if process.greeted else "start"
        self._died_answering = self._died_answering or phase == "generate"
        event = died(process.end(phase, reason=reason), closed=self._closed)
        self._drop(process)
        return LOAD_CANCELLED if gave_up and not self._closed else event

    def _drop(self, process: EngineProcess) -> None:
        process.dispose()
        if self._process is process:
            self._process = None
