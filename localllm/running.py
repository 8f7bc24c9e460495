"""A plan as it is run: memory is looked at again right before the load, and less taken if it ends.

Composition only: what is planned with less is decided in ``core/stepping_down.py``, where layers
then go in ``core/planner.py``. The session gives what is called here: how memory is read, a plan
made, a model loaded.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from localllm.core.generation import Died, Event, Failed, Loaded, LoadNote, Proved
from localllm.core.hardware import Device, Hardware
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.core.shrunk import Lost, lost_memory, lost_sentence, short_of
from localllm.errors import EngineError, LocalLLMError

if TYPE_CHECKING:  # most loads hold: what else there is to do about memory is imported when it ends
    from localllm.core.shortage import Occasion, Shortage
    from localllm.core.shortfall import Shortfall

E = TypeVar("E", bound=Event)

Replan = Callable[[Hardware, Policy], Plan]
"""Plans the same model. Raises LocalLLMError for a policy that makes no plan."""
Reread = Callable[[Hardware, tuple[str, ...]], Hardware]
"""Returns the machine with what is free now of RAM and of the devices named."""
Holders = Callable[[Device | None], str | None]
"""Names the processes that hold a GPU's memory, or RAM (None)."""


RunEvent = Event | LoadNote


class Runner:
    """Loads plans as they were made, or with less where memory has gone or runs out."""

    def __init__(
        self,
        *,
        replan: Replan,
        load: Callable[[Plan], Iterator[Event]],
        prove: Callable[[], Iterator[Event]],
        release: Callable[[], None],
        reread: Reread,
        holders: Holders,
        remember: Callable[[tuple[Shortfall, ...]], None],
        held: Callable[[Plan, Policy], None],
        now: Callable[[], str],
    ) -> None:
        """Take what the session can do.

        ``release`` ends what still holds memory of ours: a loaded model, the planner's child.
        ``remember`` keeps shortfalls, ``held`` hears of plans that loaded. ``now``: ISO 8601.
        """
        self._replan, self._load, self._prove = replan, load, prove
        self._release, self._reread, self._holders = release, reread, holders
        self._remember, self._held, self._now = remember, held, now
        self._n_deaths: Counter[str] = Counter()

    def load(
        self, plan: Plan, policy: Policy, *, asked: Policy | None = None, proves: bool = False
    ) -> Iterator[RunEvent]:
        """Load a model; yields the engine's events and notes, then ``Loaded`` or a failure.

        ``policy``: that of the plan; ``asked``: the person's own, where a choice filled in what it
        left open. With ``proves`` the context is filled once before ``Loaded`` (``Proved`` comes
        first). Where memory runs out, smaller plans are tried, at most two.
        """
        self._release()
        looked = self._looked_again(plan, policy)
        if isinstance(looked, Failed):
            yield looked
            return
        plan, note = looked
        if note is not None:
            yield note
        planned, first, n_steps = plan, policy, 0
        while True:
            ended, occasion = yield from self._tried(plan, proves=proves)
            if isinstance(ended, Loaded):
                self._held(plan, policy)
                self._learn(planned, first, policy)
                yield ended
                return
            n_steps += 1
            step = self._stepped(
                plan, policy, ended, occasion, attempt=n_steps, wishes=(first, asked or first)
            )
            if not isinstance(step, _Step):
                yield step
                return
            yield LoadNote(text=step.told())
            plan, policy = step.plan, step.policy

    def after_death(
        self, ended: Failed | Died, plan: Plan, policy: Policy, *, asked: Policy | None = None
    ) -> LoadNote | None:
        """Remember an answer that ended for lack of memory: the next plan of the model takes less.

        None where it ended otherwise, where nothing can be taken back, and after the second time:
        the failure itself then says all there is. The model is let go of.
        """
        occasion = _OCCASIONS.get(ended.phase) if isinstance(ended, Died) else "answer"
        if occasion is None:
            return None
        attempt = self._n_deaths[plan.model.source] + 1
        step = self._stepped(
            plan, policy, ended, occasion, attempt=attempt, wishes=(policy, asked or policy)
        )
        if not isinstance(step, _Step):
            return None
        self._n_deaths[plan.model.source] = attempt
        if not self._learn(plan, policy, step.policy) and not step.because:
            return None  # a coarser cache alone is not kept: the next plan would be the same
        return LoadNote(text=step.told(since="From the next load on"))

    def _learn(self, plan: Plan, before: Policy, after: Policy) -> bool:
        """Remember what made a plan hold where it failed with another policy; whether there is."""
        if before == after:
            return False
        from localllm.core.shortfall import shortfalls_between

        learnt = shortfalls_between(plan, before, after, time=self._now())
        self._remember(learnt)
        return bool(learnt)

    def _looked_again(self, plan: Plan, policy: Policy) -> tuple[Plan, LoadNote | None] | Failed:
        """Return the plan, or another one with a note where memory has gone meanwhile."""
        hardware = self._reread(plan.hardware, plan.device_names)
        lost = self._with_holders(lost_memory(plan, hardware, policy), hardware)
        if not lost:
            return plan, None
        from localllm.core.plan_changes import changes
        from localllm.core.stepping_down import fixed_flags

        gone = lost_sentence(lost)
        try:
            other = self._replan(hardware, policy)
        except LocalLLMError as error:
            return Failed(error=type(error).__name__, message=error.message, hint=error.hint)
        finally:
            self._release()
        if other.verdict == "fits" and other.refusal is None:
            return other, LoadNote(text=f"{gone}. Now: {changes(plan, other)}.")
        flags = " and ".join(fixed_flags(policy))
        return Failed(
            error="DoesNotFitError",
            message=f"{plan.model.name} no longer fits: {gone}; it is short of {short_of(other)}.",
            hint=f"Leave out {flags}: a smaller plan may fit."
            if flags
            else "End what holds the memory, or use a smaller context (--ctx) or quantisation.",
        )

    def _tried(
        self, plan: Plan, *, proves: bool
    ) -> Generator[RunEvent, None, tuple[Loaded | Failed | Died, Occasion]]:
        """Yield the events of one load, and of its proof; return the event that ends them."""
        loaded = yield from _until(self._load(plan), Loaded)
        if not proves or not isinstance(loaded, Loaded):
            return loaded, "load"
        proved = yield from _until(self._prove(), Proved)
        if isinstance(proved, Failed | Died):
            return proved, "proof"
        yield proved
        return loaded, "proof"

    def _stepped(
        self,
        plan: Plan,
        policy: Policy,
        ended: Failed | Died,
        occasion: Occasion,
        *,
        attempt: int,
        wishes: tuple[Policy, Policy],
    ) -> _Step | Failed | Died:
        """Return the first smaller plan that fits after memory ran out; else the failure's words.

        ``attempt``: 1, 2, or one more than is tried. ``wishes``: the policy before any step, and
        the person's own. The model is let go of.
        """
        from localllm.core.shortage import shortage_of
        from localllm.core.stepping_down import MAX_STEPS, is_less, open_kv_types, smaller_policies

        shortage = shortage_of(plan, ended, occasion)
        if shortage is None:
            return ended
        self._release()
        hardware = self._reread(plan.hardware, plan.device_names)
        gone = [
            lost for lost in lost_memory(plan, hardware, policy) if lost.place in shortage.places
        ]
        lost = self._with_holders(tuple(gone), hardware)
        others = smaller_policies(
            policy,
            plan,
            shortage,
            attempt=attempt,
            hardware=hardware,
            may_fall=open_kv_types(*wishes),
        )
        for other in itertools.chain([policy] if lost else [], others):
            if attempt > MAX_STEPS:
                break
            made = self._planned(hardware, other)
            if made is not None and is_less(plan, made, shortage.places):
                return _Step(
                    before=plan,
                    plan=made,
                    policy=other,
                    shortage=shortage,
                    because=lost_sentence(lost) if lost else "",
                )
        return self._explained(ended, plan, policy, shortage, n_steps=attempt - 1)

    def _explained(
        self, ended: Failed | Died, plan: Plan, policy: Policy, shortage: Shortage, *, n_steps: int
    ) -> Failed | Died:
        """Return the failure that ends it all, with what the person could ask for instead."""
        from localllm.core.stepping_down import (
            fixed_flags,
            gave_up,
            is_less,
            kept_as_asked,
            left_open,
            with_more_headroom,
        )

        if fixed_flags(policy) and not shortage.on_host:
            roomier = with_more_headroom(
                left_open(policy), plan, shortage, attempt=1, hardware=plan.hardware
            )
            instead = self._planned(plan.hardware, roomier)
            if instead is not None and is_less(plan, instead, shortage.places):
                return kept_as_asked(ended, policy, instead)
        return gave_up(ended, n_steps)

    def _planned(self, hardware: Hardware, policy: Policy) -> Plan | None:
        """Return a plan; None where the policy makes none, as a cache type not for this model."""
        try:
            return self._replan(hardware, policy)
        except LocalLLMError:
            return None
        finally:
            self._release()  # what planning started holds memory again

    def _with_holders(self, lost: tuple[Lost, ...], hardware: Hardware) -> tuple[Lost, ...]:
        devices = {device.name: device for device in hardware.devices}
        return tuple(replace(each, holders=self._holders(devices.get(each.place))) for each in lost)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A smaller plan after memory ran out."""

    before: Plan
    plan: Plan
    policy: Policy
    shortage: Shortage
    because: str
    """Where the memory went, if something else took it."""

    def told(self, *, since: str = "Now") -> str:
        """Return what happened and what is done about it."""
        from localllm.core.stepping_down import step_sentence

        return step_sentence(
            self.shortage, self.before, self.plan, because=self.because, since=since
        )


_OCCASIONS: dict[str, Occasion] = {"prompt": "answer", "generate": "answer", "bench": "bench"}
"""Phases of a death after a load."""


def _until(events: Iterator[Event], kind: type[E]) -> Generator[RunEvent, None, E | Failed | Died]:
    """Pass events on up to one of a kind, or up to a failure, and return that."""
    for event in events:
        if isinstance(event, (kind, Failed, Died)):
            return event
        yield event
    raise EngineError("The engine ended without a word.")  # a broken protocol
