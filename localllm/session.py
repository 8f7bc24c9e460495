"""The composition root: detect -> resolve -> plan -> load -> generate.

Shells (CLI, TUI, server) call this module and nothing below it. It joins adapters to the pure core
and decides nothing itself: placement is decided in ``core/planner.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from localllm.core.hardware import Hardware
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.hub.resolve import LocalModel
from localllm.lookups import (
    conversation_store,
    detect_hardware,
    engine_info,
    hardware_named,
    hardware_names,
    input_history_path,
    model_names,
    read_conversation,
    resolve_for_plan,
    resolve_model,
    save_conversation,
)
from localllm.own_runs import OwnRuns, own_measurements
from localllm.planning import (
    BasisWish,
    Plannable,
    Planner,
    known_models,
    leaves_open,
    model_variants,
)

if TYPE_CHECKING:  # a plan needs none of these, and they take longer to define than it does to make
    from localllm.choosing import Decided
    from localllm.core.calibration import Calibration
    from localllm.core.generation import (
        BenchTest,
        ChatRequest,
        CompletionRequest,
        Engine,
        EngineInfo,
        Event,
        Loaded,
        Message,
        RunStats,
        Sampling,
    )
    from localllm.core.target import Reach, Target
    from localllm.records.conversations import Conversation, ConversationStore, Summary
    from localllm.records.entries import Entry
    from localllm.records.measured import TimedRun

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
    "detect_hardware",
    "engine_info",
    "hardware_named",
    "hardware_names",
    "input_history_path",
    "known_models",
    "leaves_open",
    "model_names",
    "model_variants",
    "own_measurements",
    "read_conversation",
    "resolve_for_plan",
    "resolve_model",
    "save_conversation",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One planned figure beside what llama.cpp really allocated, in bytes."""

    device: str
    planned_bytes: int
    measured_bytes: int


class Session:
    """One machine and at most one loaded model, with its plan. Close it, or use it in ``with``."""

    def __init__(
        self,
        *,
        hardware: Hardware | None = None,
        engine: Engine | None = None,
        basis: BasisWish = "auto",
    ) -> None:
        """Take a machine and an engine, or detect and start them when they are first needed.

        ``basis``: whether plans ask llama.cpp's own allocator, see ``Planner``.
        """
        self._hardware = hardware
        self._engine = engine
        self._planner = Planner(basis=basis)
        self.model: LocalModel | None = None
        self.plan: Plan | None = None
        self.loaded: Loaded | None = None
        self._own_runs = OwnRuns()

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

    def make_plan(self, model: Plannable, policy: Policy) -> Plan:
        """Plan ``model`` on this session's machine, whether it fits or not (``Plan.verdict``).

        Raises UsageError for wishes that contradict each other, EngineError where an exact plan
        was insisted on and cannot be made.
        """
        return self._planner.plan(model, self.hardware, policy, calibration=self.calibration)

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
        return self._own_runs.calibration(self.hardware)

    def load(self, model: LocalModel, plan: Plan) -> Iterator[Event]:
        """Load a model under its plan; yields progress, then ``Loaded``, ``Failed`` or ``Died``."""
        self.model, self.plan, self.loaded = model, plan, None
        self._planner.close()  # the memory of its child is the engine's now
        from localllm.core.generation import Loaded

        for event in self._started_engine().load(plan, tuple(str(p) for p in model.paths)):
            if isinstance(event, Loaded):
                self.loaded = event
            yield event

    def chat(self, request: ChatRequest) -> Iterator[Event]:
        """Answer a conversation; closing the iterator early cancels the answer."""
        return self._started_engine().chat(request)

    def complete(self, request: CompletionRequest) -> Iterator[Event]:
        """Continue a plain text, without a chat template."""
        return self._started_engine().complete(request)

    def bench(self, tests: tuple[BenchTest, ...]) -> Iterator[Event]:
        """Run bench tests on the loaded model."""
        return self._started_engine().bench(tests)

    def cancel(self) -> None:
        """Ask the running request to stop; safe from any thread and from a signal handler."""
        if self._engine is not None:
            self._engine.cancel()

    def close(self) -> None:
        """End the processes that were started."""
        self._planner.close()
        if self._engine is not None:
            self._engine.close()
        self.loaded = None

    def memory_comparison(self) -> tuple[Comparison, ...]:
        """Planned against allocated bytes per device (model + context + compute); empty if unknown.

        The host's mapped file is left out on both sides: llama.cpp counts the file's whole span,
        repacked and offloaded tensors included, and the kernel may evict it.
        """
        if self.plan is None or self.loaded is None:
            return ()
        measured = {
            row.name: row.model_bytes - row.mapped_bytes + row.context_bytes + row.compute_bytes
            for row in self.loaded.memory
        }
        return tuple(
            Comparison(
                device=row.name,
                planned_bytes=row.self_bytes - row.mapped_bytes,
                measured_bytes=measured[row.name],
            )
            for row in self.plan.devices
            if row.name in measured
        )

    def keep_answer(self, stats: RunStats) -> None:
        """Keep how fast an answer was, beside its estimate; see ``measurement_problem``."""
        from localllm.records.measured import runs_of_answer

        self._keep(runs_of_answer(stats))

    def keep_bench(self, test: BenchTest, samples_ns: Sequence[int]) -> None:
        """Keep how fast a finished bench test was; a mixed test says nothing of either phase."""
        from localllm.records.measured import run_of_bench

        run = run_of_bench(test, samples_ns)
        self._keep(() if run is None else (run,))

    def measurement_problem(self) -> str | None:
        """Return, once, why measurements cannot be read or kept: a sentence."""
        return self._own_runs.problem()

    def _keep(self, runs: tuple[TimedRun, ...]) -> None:
        content_id = self.model.content_id if self.model is not None else None
        self._own_runs.keep(self.plan, runs, content_id=content_id)

    def _started_engine(self) -> Engine:
        if self._engine is None:
            from localllm.engine.client import EngineClient

            self._engine = EngineClient()
        return self._engine
