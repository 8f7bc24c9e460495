"""The composition root: detect -> resolve -> plan -> load -> generate -> measure -> reconcile.

Shells (CLI, TUI, server) call this module and nothing below it. It joins adapters to the pure core
and decides nothing itself: placement is decided in ``core/planner.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from localllm.core.hardware import Hardware
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.hub.resolve import LocalModel
from localllm.lookups import (
    conversation_store,
    cpu_seconds,
    detect_hardware,
    engine_info,
    forget,
    hardware_named,
    hardware_names,
    input_history_path,
    kept_files,
    model_names,
    past_runs,
    read_conversation,
    resolve_for_plan,
    resolve_model,
    save_conversation,
)
from localllm.measuring import Measuring
from localllm.own_runs import own_measurements
from localllm.planning import (
    BasisWish,
    Plannable,
    Planner,
    known_models,
    leaves_open,
    model_variants,
)
from localllm.system.suspend import SuspendWatch

if TYPE_CHECKING:  # a plan needs none of these, and they take longer to define than it does to make
    from localllm.choosing import Decided
    from localllm.core.calibration import Calibration
    from localllm.core.generation import (
        BenchTest,
        ChatRequest,
        CompletionRequest,
        Died,
        Engine,
        EngineInfo,
        Event,
        Failed,
        Loaded,
        Message,
        Sampling,
    )
    from localllm.core.reconcile import Comparison
    from localllm.core.target import Reach, Target
    from localllm.records.conversations import Conversation, ConversationStore, Summary
    from localllm.records.entries import Entry
    from localllm.running import RunEvent, Runner

__all__ = [
    "BenchTest",
    "ChatRequest",
    "CompletionRequest",
    "Conversation",
    "ConversationStore",
    "EngineInfo",
    "Entry",
    "Event",
    "LocalModel",
    "Message",
    "Sampling",
    "Session",
    "Summary",
    "conversation_store",
    "cpu_seconds",
    "detect_hardware",
    "engine_info",
    "forget",
    "hardware_named",
    "hardware_names",
    "input_history_path",
    "kept_files",
    "known_models",
    "leaves_open",
    "model_names",
    "model_variants",
    "own_measurements",
    "past_runs",
    "read_conversation",
    "resolve_for_plan",
    "resolve_model",
    "save_conversation",
]


class Session:
    """One machine and at most one loaded model, with its plan. Close it, or use it in ``with``."""

    def __init__(
        self,
        *,
        hardware: Hardware | None = None,
        engine: Engine | None = None,
        basis: BasisWish = "auto",
        suspends: SuspendWatch | None = None,
    ) -> None:
        """Take a machine and an engine, or detect and start them when they are first needed.

        ``basis``: whether plans ask llama.cpp's own allocator, see ``Planner``. ``suspends``: with
        clocks of its own, for tests.
        """
        self._hardware = hardware
        self._engine = engine
        self._planner = Planner(basis=basis)
        self.model: LocalModel | None = None
        self.plan: Plan | None = None
        """Of the loaded model; another one than was asked for where memory was short."""
        self.loaded: Loaded | None = None
        self.measuring = Measuring()
        """Meters, what is kept of runs, and what was learnt from them."""
        self._suspends = suspends or SuspendWatch()
        self._runner: Runner | None = None
        self._asked: tuple[Policy, Policy] | None = None

    def __enter__(self) -> Self:
        """Return the session itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the engine whatever happened."""
        self.close()

    @property
    def hardware(self) -> Hardware:
        """The machine, detected once; a sleeping GPU is woken, since a model may go there."""
        if self._hardware is None:
            self._hardware = detect_hardware(wake_gpus=True)
        return self._hardware

    def prepare_plans(self) -> Self:
        """Start what a plan will need in the background, so that reading a header hides it."""
        self._planner.start()
        return self

    def make_plan(self, model: Plannable, policy: Policy, *, to_run: bool = False) -> Plan:
        """Plan ``model`` on this session's machine, whether it fits or not (``Plan.verdict``).

        ``to_run``: it is about to be loaded, see ``Planner.plan``.

        Raises UsageError for wishes that contradict each other, EngineError where an exact plan
        was insisted on and cannot be made.
        """
        policy, reasons = self.measuring.learnt(model.spec, self.hardware, policy)
        made = self._planner.plan(
            model, self.hardware, policy, calibration=self.calibration, to_run=to_run
        )
        return replace(made, reasons=(*reasons, *made.reasons)) if reasons else made

    def decide(
        self,
        name: str,
        found: Plannable,
        policy: Policy,
        *,
        alternatives: bool = False,
        target: Target | None = None,
    ) -> Decided:
        """Choose what the person left open of a model found by its name, see ``choosing``."""
        from localllm.choosing import decide

        return decide(
            name,
            found,
            self.hardware,
            policy,
            alternatives=alternatives,
            target=target,
            calibration=self.calibration,
        )

    def plan_decided(self, decided: Decided) -> Plan:
        """Plan what was decided, with the reason for the choice before the others.

        Where llama.cpp refuses the cache that was chosen, the plan is made with an f16 one.
        """
        made = self.make_plan(decided.model, decided.policy)
        plainer = decided.with_plain_cache() if made.refusal is not None else None
        if plainer is not None:
            other = self.make_plan(plainer.model, plainer.policy)
            if other.refusal is None:
                return plainer.explained(other)
        return decided.explained(made)

    def reach(
        self,
        name: str,
        found: Plannable,
        decided: Decided,
        target: Target,
        *,
        on_machine: Callable[[str], None] | None = None,
    ) -> Reach:
        """Say what a decided plan lacks for a target, and what would reach it."""
        from localllm import choosing

        return choosing.reach(
            name,
            found,
            self.hardware,
            decided,
            target,
            calibration=self.calibration,
            on_machine=on_machine,
        )

    @property
    def calibration(self) -> Calibration | None:
        """What earlier runs on this machine say of the estimates; None where there were none."""
        return self.measuring.calibration(self.hardware)

    def load(
        self, model: LocalModel, plan: Plan, policy: Policy | None = None, *, proves: bool = False
    ) -> Iterator[RunEvent]:
        """Load a model; yields progress and notes, then ``Loaded``, ``Failed`` or ``Died``.

        With the policy of the plan memory is looked at again first, and less is taken where it has
        gone or runs out (``running.py``); ``self.plan`` is then the plan that was loaded. With
        ``proves`` the context is filled once before ``Loaded``. Without a policy the plan is loaded
        as it is, or not at all.
        """
        self.model, self.plan, self.loaded = model, plan, None
        self._planner.close()  # the memory of its child is the engine's now
        if policy is None:
            yield from self._load(plan)
            return
        learnt, _ = self.measuring.learnt(model.spec, self.hardware, policy)
        self._asked = learnt, policy
        if self._runner is None:
            self._runner = self._new_runner()
        yield from self._runner.load(plan, learnt, asked=policy, proves=proves)

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
        if self.plan is None or self.loaded is None:
            return ()
        from localllm.core.reconcile import compare_memory

        return compare_memory(self.plan, self.loaded.memory)

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
            replan=lambda hardware, policy: self._planner.plan(
                self._wanted(), hardware, policy, calibration=self.calibration, to_run=True
            ),
            load=self._load,
            prove=self._started_engine().prove,
            release=self._release,
            reread=fresh_memory,
            holders=memory_holders,
            remember=lambda learnt: self.measuring.ran_short(learnt, self.hardware),
            held=self.measuring.held,
            now=lambda: datetime.now(UTC).isoformat(timespec="seconds"),
        )

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
