"""The composition root: detect, find, plan, fetch, load, generate, measure, reconcile.

Shells (CLI, TUI, server) call this module and nothing below it. It joins adapters to the pure core
and decides nothing itself: placement is decided in ``core/planner.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
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
    local_file,
    model_names,
    past_runs,
    read_conversation,
    resolve_for_plan,
    resolve_model,
    save_conversation,
)
from localllm.own_runs import own_measurements
from localllm.planning import (
    BasisWish,
    Plannable,
    Planner,
    known_models,
    leaves_open,
    model_variants,
)
from localllm.serving import Serving
from localllm.system.suspend import SuspendWatch

if TYPE_CHECKING:  # a plan needs none of these, and they take longer to define than it does to make
    import threading

    from localllm.choosing import Decided
    from localllm.core.calibration import Calibration
    from localllm.core.fetching import ToFetch
    from localllm.core.generation import (
        BenchTest,
        ChatRequest,
        CompletionRequest,
        Engine,
        EngineInfo,
        Event,
        Message,
        Sampling,
    )
    from localllm.core.target import Reach, Target
    from localllm.fetching import FetchEvent
    from localllm.finding import Finder, Watch
    from localllm.records.conversations import Conversation, ConversationStore, Summary
    from localllm.records.entries import Entry

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
    "local_file",
    "model_names",
    "model_variants",
    "own_measurements",
    "past_runs",
    "read_conversation",
    "resolve_for_plan",
    "resolve_model",
    "save_conversation",
]


class Session(Serving):
    """One machine and at most one loaded model, with its plan. Close it, or use it in ``with``.

    What is done with the loaded model is inherited.
    """

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
        planner = Planner(basis=basis)
        super().__init__(planner, lambda: self.hardware, engine=engine, suspends=suspends)

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

    def make_plan(
        self,
        model: Plannable,
        policy: Policy,
        *,
        to_run: bool = False,
        with_counterfactuals: bool = True,
    ) -> Plan:
        """Plan ``model`` on this session's machine, whether it fits or not (``Plan.verdict``).

        ``to_run``: it is about to be loaded, see ``Planner.plan``, also for the last.

        Raises UsageError for wishes that contradict each other, EngineError where an exact plan
        was insisted on and cannot be made.
        """
        policy, reasons = self.measuring.learnt(model.spec, self.hardware, policy)
        made = self._planner.plan(
            model,
            self.hardware,
            policy,
            calibration=self.calibration,
            to_run=to_run,
            with_counterfactuals=with_counterfactuals,
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

    def find(
        self,
        name: str,
        policy: Policy,
        *,
        fresh: bool = False,
        mends: bool = False,
        watch: Watch | None = None,
    ) -> Decided:
        """Return what a name means to be run here; ``fetch`` of it says what must come first.

        See ``finding.Finder.to_run``, also for the errors. ``fresh``: ask the Hub in any case;
        ``mends``: ask it where what is here is damaged.
        """
        return self._finder(watch).to_run(name, policy, fresh=fresh, mends=mends)

    def find_for_plan(
        self,
        name: str,
        policy: Policy,
        *,
        alternatives: bool = False,
        target: Target | None = None,
        watch: Watch | None = None,
    ) -> Decided:
        """Return what a name means to be planned: a file, a header, or a recorded shape.

        See ``finding.Finder.to_plan``; for the rest ``decide``.
        """

        def decided(found: Plannable) -> Decided:
            return self.decide(name, found, policy, alternatives=alternatives, target=target)

        made = self._finder(watch).to_plan(name, policy, found=decided)
        if alternatives and made.alternatives is None:
            others = self.decide(name, made.model, policy, alternatives=True).alternatives
            made = replace(made, alternatives=others)
        return made

    def plannable(self, name: str, policy: Policy, *, watch: Watch | None = None) -> Plannable:
        """Return a model to be planned, what a known name leaves open not decided.

        Raises what ``find_for_plan`` does.
        """
        return self._finder(watch).plannable(name, policy)

    def fetch(
        self, wanted: ToFetch, *, stop: threading.Event | None = None
    ) -> Generator[FetchEvent]:
        """Download what was decided; yields progress, then ``Fetched`` with the model.

        See ``fetching.fetch``, also for the errors; closing the iterator keeps what came.
        """
        from localllm.fetching import fetch

        return fetch(wanted, stop=stop)

    def plan_decided(self, decided: Decided, *, with_counterfactuals: bool = True) -> Plan:
        """Plan what was decided, with the reason for the choice before the others.

        Where llama.cpp refuses the cache that was chosen, the plan is made with an f16 one.
        """
        plan = functools.partial(self.make_plan, with_counterfactuals=with_counterfactuals)
        made = plan(decided.model, decided.policy)
        plainer = decided.with_plain_cache() if made.refusal is not None else None
        if plainer is not None:
            other = plan(plainer.model, plainer.policy)
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

    def _finder(self, watch: Watch | None) -> Finder:
        from localllm.finding import Finder

        return Finder(lambda: self.hardware, calibration=lambda: self.calibration, watch=watch)

    @property
    def calibration(self) -> Calibration | None:
        """What earlier runs on this machine say of the estimates; None where there were none."""
        return self.measuring.calibration(self.hardware)
