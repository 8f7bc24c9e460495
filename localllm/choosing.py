"""From a name to what is planned: the quantisation where it was left open, and the rest with it.

Composition only: what is best is decided in ``core/choice.py``, where layers go in
``core/planner.py``. Here a model gets its quantisations, and a chosen one becomes something that
the planner can plan, with llama.cpp's allocator where there is a header to ask it about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.planning import Plannable, leaves_open, model_variants

if TYPE_CHECKING:
    from localllm.core.calibration import Calibration
    from localllm.core.choice import Choice, Option
    from localllm.core.fetching import ToFetch
    from localllm.core.target import Reach, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class AsIf:
    """A file as if it were in another quantisation: it can be planned by the formulas only."""

    spec: ModelSpec
    own_quant: str
    """What the file really is in."""
    recorded: ClassVar[bool] = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of such a plan."""
        return (
            f"The file is in {self.own_quant}: this plans what {self.spec.quant} of it would be, "
            f"by llama.cpp's own recipe.",
        )

    def header_files(self, folder: Path, *, vocabulary: bool) -> tuple[Path, ...]:
        """Raise ExactUnavailable: there is no such file to ask llama.cpp about."""
        from localllm.engine.dryrun import ExactUnavailable

        raise ExactUnavailable(f"the file is in {self.own_quant}, not in {self.spec.quant}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What is to be planned, and what was chosen on the way."""

    model: Plannable
    policy: Policy
    """To plan it with: what was chosen is fixed in it."""
    asked: Policy
    choice: Choice | None
    """None where nothing was left open."""
    alternatives: Choice | None
    """Over everything on offer, with the front; None where nobody asked."""

    note: str | None = None
    """What became of the choice afterwards."""
    runner_up: Option | None = None
    """The best of the other quantisations on offer; None where there is none."""
    name: str | None = None
    """What finds exactly this again, where the person's own words may find something else."""
    fetch: ToFetch | None = None
    """What has to be downloaded before it can be run; None where its files are here."""

    def explained(self, plan: Plan) -> Plan:
        """Return its plan with the reason for the choice before the others."""
        if self.choice is None:
            return plan
        words = filter(None, (self.choice.reason, self.choice.unmet, self.note))
        return replace(plan, reasons=(*words, *plan.reasons))

    def with_plain_cache(self) -> Decided | None:
        """Return the same with an f16 cache; None where it was f16, or the person's own wish."""
        chosen, asked = self.policy, self.asked
        if self.choice is None or chosen.type_k == chosen.type_v == "f16":
            return None
        if asked.type_k not in (None, "auto") or asked.type_v not in (None, "auto"):
            return None
        return replace(
            self,
            policy=replace(chosen, type_k="f16", type_v="f16"),
            note="Planned with an f16 KV cache: the installed llama.cpp refuses the chosen one.",
        )


def decide(
    name: str,
    found: Plannable,
    hardware: Hardware,
    policy: Policy,
    *,
    alternatives: bool = False,
    target: Target | None = None,
    calibration: Calibration | None = None,
) -> Decided:
    """Choose what the person left open of a model found by its name.

    A known model's bare name leaves quantisation and cache open. Where the former is fixed the
    latter is chosen only for a stated preference or wish. A ``target`` counts as a wish where the
    quantisation is open and something reaches it. Raises UsageError for an unknown quantisation,
    and what ``choose`` does.
    """
    variants = model_variants(name, found, quant=policy.quant)
    choice = table = None
    if len(variants) > 1 or leaves_open(name, found, policy):
        from localllm.core.choice import Chooser

        chooser = Chooser(variants)

        def choose(wishes: Policy) -> Choice:
            return chooser.choose(
                hardware,
                replace(wishes, quant=None),
                alternatives=alternatives,
                calibration=calibration,
            )

        choice = choose(policy)
        if target is not None and len(variants) > 1:
            wished = choose(target.wished_of(policy))
            if wished.best.fits and wished.unmet is None:
                choice = wished
        chosen, definite = choice.best.model, definite_policy(policy, choice.best)
    else:
        (chosen,) = variants
        definite = replace(policy, quant=chosen.quant)
    if alternatives:
        table = choice
        if len(variants) == 1:
            from localllm.core.choice import Chooser

            offered = Chooser(on_offer(name, found))
            table = offered.choose(hardware, replace(policy, quant=None), calibration=calibration)
    return Decided(
        model=_in_quant(found, chosen),
        policy=definite,
        asked=policy,
        choice=choice,
        alternatives=table,
    )


def reach(
    name: str,
    found: Plannable,
    hardware: Hardware,
    decided: Decided,
    target: Target,
    *,
    calibration: Calibration | None = None,
    on_machine: Callable[[str], None] | None = None,
) -> Reach:
    """Say what a decided plan lacks for a target, and what would reach it, see ``core/target``."""
    from localllm.core.target import reach as reached_by

    now = decided.choice.best if decided.choice else _as_it_is(decided, hardware, calibration)
    everything = on_offer(name, found)
    return reached_by(
        everything,
        hardware,
        decided.asked,
        target,
        now=now,
        machines=_machines(),
        calibration=calibration,
        on_machine=on_machine,
    )


def on_offer(name: str, found: Plannable) -> tuple[ModelSpec, ...]:
    """Return a model in every quantisation, also a file in one, the largest first.

    What was published in few bits has no others.
    """
    from localllm.core.quality import published_quant

    if published_quant(found.spec):
        return (found.spec,)
    return model_variants(name, found, quant="all")


def _as_it_is(decided: Decided, hardware: Hardware, calibration: Calibration | None) -> Option:
    """The option that a plan without a choice stands for."""
    fixed = replace(decided.policy.with_usual_kv(), quant=None)
    from localllm.core.choice import Chooser

    chooser = Chooser([decided.model.spec])
    return chooser.choose(hardware, fixed, alternatives=False, calibration=calibration).best


def _machines() -> tuple[Hardware, ...]:
    """Every machine that has a profile; a slice of a card is nothing that one can have alone."""
    from localllm.probes.named import named_hardware
    from localllm.probes.profiles import profile_names

    return tuple(named_hardware((name,)) for name in profile_names() if "-mig-" not in name)


def definite_policy(asked: Policy, best: Option) -> Policy:
    """Return the policy to plan an option with. What the planner decides alike is left to its
    words: the batch, and a context by default or ``max``.
    """
    kept = asked.n_ctx == "max" or (asked.n_ctx is None and asked.prefer != "context")
    n_ctx = asked.n_ctx if kept else best.policy.n_ctx
    return replace(best.policy, n_ctx=n_ctx, n_ubatch=asked.n_ubatch)


def _in_quant(found: Plannable, chosen: ModelSpec) -> Plannable:
    """Return something plannable in the chosen quantisation, with its header where there is one."""
    from localllm.hub.known.models import KnownModel

    if chosen.quant == found.spec.quant:
        return found
    if isinstance(found, KnownModel):
        return found.with_quant(chosen.quant)
    # The flags of the plan must not name the file: it is in another quantisation.
    as_if = f"{chosen.name}-{chosen.quant}.gguf"
    return AsIf(spec=replace(chosen, source=as_if), own_quant=found.spec.quant)
