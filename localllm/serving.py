"""One engine and the model that it holds: loaded under a plan, asked, measured, reconciled.

Composition only: ``running.py`` decides nothing either, but knows what to do when memory runs out;
``measuring.py`` knows what is read and kept meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from localllm.core.hardware import Hardware
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.hub.resolve import LocalModel
from localllm.measuring import Measuring
from localllm.planning import Planner
from localllm.system.suspend import SuspendWatch

if TYPE_CHECKING:  # a load needs none of these, and they take long to define
    from localllm.core.generation import (
        BenchTest,
        ChatRequest,
        CompletionRequest,
        Died,
        Engine,
        Event,
        Failed,
        Loaded,
    )
    from localllm.core.reconcile import Comparison
    from localllm.running import RunEvent, Runner


class Serving:
    """At most one loaded model, with its plan."""

    def __init__(
        self,
        planner: Planner,
        hardware: Callable[[], Hardware],
        *,
        engine: Engine | None = None,
        suspends: SuspendWatch | None = None,
    ) -> None:
        """Take what plans again where memory was short; the engine is started when it is needed.

        ``suspends``: with clocks of its own, for tests.
        """
        self._planner = planner
        self._hardware_now = hardware
        self._engine = engine
        self.model: LocalModel | None = None
        self.plan: Plan | None = None
        """Of the loaded model; another one than was asked for where memory was short."""
        self.loaded: Loaded | None = None
        self.measuring = Measuring()
        """Meters, what is kept of runs, and what was learnt from them."""
        self._suspends = suspends or SuspendWatch()
        self._runner: Runner | None = None
        self._asked: tuple[Policy, Policy] | None = None

    def load(
        self,
        model: LocalModel,
        plan: Plan,
        policy: Policy | None = None,
        *,
        asked: Policy | None = None,
        proves: bool = False,
    ) -> Iterator[RunEvent]:
        """Load a model; yields progress and notes, then ``Loaded``, ``Failed`` or ``Died``.

        With the policy of the plan memory is looked at again first, and less is taken where it has
        gone or runs out (``running.py``); ``self.plan`` is then the plan that was loaded. With
        ``proves`` the context is filled once before ``Loaded``. Without a policy the plan is loaded
        as it is, or not at all. ``asked``: the person's own policy, where a choice filled in what
        it left open.
        """
        self.model, self.plan, self.loaded = model, plan, None
        self._planner.close()  # the memory of its child is the engine's now
        if policy is None:
            yield from self._load(plan)
            return
        learnt, _ = self.measuring.learnt(model.spec, self._hardware_now(), policy)
        self._asked = learnt, asked or policy
        if self._runner is None:
            self._runner = self._new_runner()
        yield from self._runner.load(plan, learnt, asked=asked or policy, proves=proves)

    def after_death(self, died: Died | Failed) -> str | None:
        """Learn from an answer that ran out of memory; return what the next load does about it.

        The model is then loaded no more. None where it ended of something else.
        """
        if self._runner is None or self._asked is None or self.plan is None:
            return None
        learnt, asked = self._asked
        note = self._runner.after_death(died, self.plan, learnt, asked=asked)
        return None if note is None else note.text

    def chat(self, request: ChatRequest) -> Iterator[Event]:
        """Answer a conversation; closing the iterator early cancels the answer."""
        return self._run(lambda engine: engine.chat(request))

    def complete(self, request: CompletionRequest) -> Iterator[Event]:
        """Continue a plain text, without a chat template."""
        return self._run(lambda engine: engine.complete(request))

    def bench(self, tests: tuple[BenchTest, ...]) -> Iterator[Event]:
        """Run bench tests on the loaded model."""
        return self._run(lambda engine: engine.bench(tests))

    def cancel(self) -> None:
        """Ask the running request to stop; safe from any thread and from a signal handler."""
        if self._engine is not None:
            self._engine.cancel()

    def close(self) -> None:
        """End the processes that were started, and write what has not been written."""
        self._planner.close()
        self.measuring.close()
        if self._engine is not None:
            self._engine.close()
        self.loaded = None

    def memory_comparison(self) -> tuple[Comparison, ...]:
        """Planned against allocated bytes per device, see ``compare_memory``; empty if unknown."""
        plan, loaded = self.plan, self.loaded  # another thread may be loading meanwhile
        if plan is None or loaded is None:
            return ()
        from localllm.core.reconcile import compare_memory

        return compare_memory(plan, loaded.memory)

    def resident_bytes(self) -> int | None:
        """Return the memory that the engine's process holds now; None where nobody tells."""
        pid = None if self._engine is None else self._engine.pid
        if pid is None:
            return None
        from localllm.lookups import resident_bytes

        return resident_bytes(pid)

    # -- how a plan is run -----------------------------------------------------------------------

    def _load(self, plan: Plan) -> Iterator[Event]:
        """Load one plan of the model as it is."""
        from localllm.core.generation import Loaded

        model, engine = self._wanted(), self._started_engine()
        self.plan, self.loaded = plan, None
        is_asked = False
        for event in engine.load(plan, tuple(str(p) for p in model.paths)):
            if not is_asked:  # meters are opened while the engine works, and not before
                is_asked = True
                self.measuring.begin(plan, content_id=model.content_id, own_pid=lambda: engine.pid)
            if isinstance(event, Loaded):
                self.loaded = event
                self.measuring.loaded(event)
            yield event

    def _run(self, start: Callable[[Engine], Iterator[Event]]) -> Iterator[Event]:
        """Pass a request's events on, metered.

        A GPU may be lost while the machine sleeps, and nothing shows it until it is used; so after
        a suspend the engine is asked first, and a death that it did not tell of is the event.
        """
        engine = self._started_engine()
        if self._suspends.look() is not None and self.loaded is not None:
            died = engine.ping()
            if died is not None:
                yield died
                return
        yield from self.measuring.metered(start(engine))

    def _new_runner(self) -> Runner:
        from datetime import UTC, datetime

        from localllm.lookups import fresh_memory, memory_holders
        from localllm.running import Runner

        return Runner(
            replan=self._replan,
            load=self._load,
            prove=self._started_engine().prove,
            release=self._release,
            reread=fresh_memory,
            holders=memory_holders,
            remember=lambda learnt: self.measuring.ran_short(learnt, self._hardware_now()),
            held=self.measuring.held,
            now=lambda: datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _replan(self, hardware: Hardware, policy: Policy) -> Plan:
        known = self.measuring.calibration(hardware)
        return self._planner.plan(self._wanted(), hardware, policy, calibration=known, to_run=True)

    def _wanted(self) -> LocalModel:
        assert self.model is not None, "a load has begun"
        return self.model

    def _release(self) -> None:
        self._planner.close()
        self._started_engine().unload()

    def _started_engine(self) -> Engine:
        if self._engine is None:
            from localllm.engine.client import EngineClient

            self._engine = EngineClient()
        return self._engine
