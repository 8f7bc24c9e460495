"""A plan from adapters: a model's header, a machine, and llama.cpp's allocator in a child.

Composition only: where layers go is decided in ``core/planner.py``. Here the allocator is started
while headers are still being read, given header files to measure, and left out, with a reason in
the plan, where it cannot be asked. A plan by formula does not even import it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self

from localllm.core.breakdown import MemoryModel
from localllm.core.certainty import certain_to_fit
from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.model import ModelSpec
from localllm.core.plan import Basis, Plan
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.errors import EngineError, NotFoundError, UsageError

if TYPE_CHECKING:
    from localllm.core.calibration import Calibration
    from localllm.core.recommendation import Known
    from localllm.engine.dryrun import DryRun

BasisWish = Literal["auto", "exact", "formula"]


class Plannable(Protocol):
    """A model of which the header is known: files here, a file elsewhere, or a recorded shape."""

    @property
    def spec(self) -> ModelSpec:
        """What the header says."""
        ...

    @property
    def recorded(self) -> bool:
        """Whether it is a recorded shape, without any file."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of where it came from, as sentences."""
        ...

    def header_files(self, folder: Path, *, vocabulary: bool) -> tuple[Path, ...]:
        """Return files that llama.cpp can dry-run; what has to be written goes to ``folder``."""
        ...


class Planner:
    """Makes plans, exact ones where llama.cpp's allocator can be asked. Close it, or use ``with``.

    One planner may make many plans: its child stays warm.
    """

    def __init__(self, *, basis: BasisWish = "auto") -> None:
        """``exact`` insists on the allocator, ``formula`` does without; ``auto`` asks if it can."""
        self._wish = basis
        self._dry: DryRun | None = None

    def __enter__(self) -> Self:
        """Start the allocator's child, which takes as long as reading a header does."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the child whatever happened."""
        self.close()

    def start(self) -> None:
        """Start the child in the background; not needed, and never an error, here."""
        if self._wish != "formula":
            self._started()

    def close(self) -> None:
        """End the child, if one was started; from any thread, also while a plan is being made."""
        dry, self._dry = self._dry, None
        if dry is not None:
            dry.close()

    def plan(
        self,
        model: Plannable,
        hardware: Hardware,
        policy: Policy,
        *,
        calibration: Calibration | None = None,
        to_run: bool = False,
        with_counterfactuals: bool = True,
    ) -> Plan:
        """Plan a model on a machine; the model's notes end the plan's reasons.

        ``calibration``: what was measured there before. ``to_run``: the plan is about to be loaded,
        so that the allocator need not be asked where ``certain_to_fit`` says so; the basis then is
        the formulas'. ``with_counterfactuals``: see ``make_plan``. Raises UsageError for wishes
        that contradict each other, EngineError (exit 6) where the exact basis was insisted on and
        llama.cpp cannot be asked.
        """
        check_quant(model.spec, policy)
        make = functools.partial(
            make_plan, calibration=calibration, with_counterfactuals=with_counterfactuals
        )
        made = self._certain(model, hardware, policy, make) if to_run else None
        made = made or self._plan(model, hardware, policy, make)
        return replace(made, reasons=(*made.reasons, *model.notes))

    def _certain(
        self, model: Plannable, hardware: Hardware, policy: Policy, make: Callable[..., Plan]
    ) -> Plan | None:
        """Return the formulas' plan where the load that follows is proof enough."""
        if self._wish != "auto" or model.recorded:
            return None
        made = make(
            model.spec,
            hardware,
            policy,
            basis_reason="it fits by a wide margin, and the load measures every buffer",
        )
        return made if certain_to_fit(made, policy) else None

    def _plan(
        self, model: Plannable, hardware: Hardware, policy: Policy, make: Callable[..., Plan]
    ) -> Plan:
        basis: Basis = "recorded shape" if model.recorded else "formula"
        if self._wish == "formula":
            return make(model.spec, hardware, policy, basis=basis)

        from localllm.engine.dryrun import DryRunRefused, ExactUnavailable
        from localllm.hub.gguf.hollow import NoHolesError

        try:
            return self._exact_plan(model, hardware, policy, functools.partial(make, basis=basis))
        except (ExactUnavailable, DryRunRefused, NoHolesError) as error:
            reason = error.message.rstrip(".")
            if self._wish == "exact":
                raise EngineError(
                    f"There is no exact plan: {reason}.",
                    hint="Leave out --basis exact: the formulas plan without llama.cpp.",
                ) from None
            made = make(model.spec, hardware, policy, basis=basis, basis_reason=reason)
            if isinstance(error, DryRunRefused):
                made = replace(made, refusal=error.message)
            return made

    def _exact_plan(
        self, model: Plannable, hardware: Hardware, policy: Policy, make: Callable[..., Plan]
    ) -> Plan:
        import tempfile

        from localllm.engine.exact import EngineMemory

        dry = self._started()
        with tempfile.TemporaryDirectory(prefix="localllm-") as name:
            folder = Path(name)
            bare = model.header_files(folder, vocabulary=False)
            full = bare if model.recorded else model.header_files(folder, vocabulary=True)
            engine = EngineMemory(
                dry,
                MemoryModel(model.spec, (), hardware.host),
                full=full,
                bare=bare,
                this_machine=hardware.source == THIS_MACHINE,
            )
            return make(model.spec, hardware, policy, engine=engine)

    def _started(self) -> DryRun:
        dry = self._dry
        if dry is None:
            from localllm.engine.dryrun import DryRun

            dry = self._dry = DryRun()
            dry.start()
        return dry


def leaves_open(name: str, model: Plannable, policy: Policy) -> bool:
    """Whether quantisation and cache are to be chosen: a bare known name, or a stated wish.

    Where the person named a quantisation, and where it is a file's, the cache is f16 unless they
    say otherwise.
    """
    from localllm.hub.known.models import known_name

    if policy.states_a_wish:
        return True
    return policy.quant is None and model.recorded and known_name(name) is not None


def model_variants(
    name: str, model: Plannable, *, quant: str | None = None
) -> tuple[ModelSpec, ...]:
    """Return a model in the quantisations that a choice is between, the largest first.

    A known model asked for without a quantisation: what publishers offer, or what it was published
    in where that is already small (MXFP4). A file, or a name with a quantisation: its own. With
    ``quant`` only that one, and with ``all`` everything on offer, in llama.cpp's own recipes.
    Raises UsageError for an unknown one, or one that the name contradicts.
    """
    from localllm.core.quality import published_quant
    from localllm.core.quants import OFFERED
    from localllm.core.requantise import requantised
    from localllm.hub.known.models import known_name, known_quants

    own, spec = model.spec.quant, model.spec
    wanted = None if quant is None else _quant_of(quant, known_quants())
    is_open = model.recorded and known_name(name) is not None
    if wanted is not None and wanted != "ALL":
        if model.recorded and not is_open and wanted != own:
            raise UsageError(
                f"{name} names {own} already, and --quant {wanted} another quantisation.",
                hint=f"Leave out one of them: {name.rpartition(':')[0]} --quant {wanted}.",
            )
        return (spec if wanted == own else requantised(spec, wanted),)
    if wanted is None and (not is_open or published_quant(spec)):
        return (spec,)
    offered = OFFERED if own in OFFERED else (own, *OFFERED)
    each = [spec if q == own else requantised(spec, q) for q in offered]
    return tuple(sorted(each, key=lambda variant: -variant.file_bytes))


def known_models(words: Sequence[str] = ()) -> tuple[Known, ...]:
    """Return the recorded models whose names hold every word, in any case and without dashes.

    Raises NotFoundError (exit 5) with the nearest names where there are none.
    """
    from localllm.core.recommendation import Known
    from localllm.hub.known.models import known_model, known_n_params, known_names, nearest_names

    def plain(text: str) -> str:
        return "".join(character for character in text.lower() if character.isalnum())

    def spec_of(name: str) -> Callable[[], ModelSpec]:
        def spec() -> ModelSpec:
            found = known_model(name)
            assert found is not None
            return found.spec

        return spec

    wanted = [plain(word) for word in " ".join(words).split()]
    names = [name for name in known_names() if all(word in plain(name) for word in wanted)]
    if not names:
        near = nearest_names(" ".join(words))
        raise NotFoundError(
            f'No known model is called "{" ".join(words)[:80]}".',
            hint=f"Did you mean {' or '.join(near)}?"
            if near
            else "Without words localllm recommend looks at all known models.",
        )
    return tuple(
        Known(name=name, n_params=known_n_params(name), spec=spec_of(name)) for name in names
    )


def check_quant(model: ModelSpec, policy: Policy) -> None:
    """Raise UsageError where a quantisation was asked for and the model at hand is in another."""
    if policy.quant is None:
        return
    wanted = policy.quant.strip().upper().replace("-", "_")
    if wanted != model.quant.upper():
        raise UsageError(
            f"{model.name} is in {model.quant}, and --quant {policy.quant} asks for another "
            f"quantisation.",
            hint="Leave out --quant, or name a file in it. `localllm plan --quant` plans as if.",
        )


def _quant_of(text: str, known: tuple[str, ...]) -> str:
    """Read a quantisation's name in any case. Raises UsageError with what is known."""
    wanted = text.strip().upper().replace("-", "_")
    if wanted == "ALL" or wanted in known:
        return wanted
    raise UsageError(
        f'"{text[:40]}" is no quantisation that llama.cpp makes.',
        hint=f"Known are {', '.join(known)}.",
    )
