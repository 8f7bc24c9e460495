"""From a name to what is planned and run: files here, or a repository that has the model on offer.

Composition only. In this order: a path, what earlier fetches and other tools left here, for a plan
the recorded shape of a known model, then the Hub: the first of a known name's repositories that can
be read and has what was asked for. What is here is never looked up again, unless ``fresh``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from localllm.choosing import Decided, decide
from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.policy import Policy
from localllm.core.text import printable
from localllm.errors import GGUFError, NotFoundError, UsageError
from localllm.hub.names.reading import (
    AddressName,
    ModelName,
    PathName,
    PlainName,
    RepoName,
    ToolName,
)
from localllm.hub.remote_url import is_offline
from localllm.hub.resolve import (
    kept_model,
    meaning_of,
    plain_text,
    resolve,
    resolve_for_plan,
)
from localllm.on_hub import Watch, find_on_hub
from localllm.planning import Plannable, check_quant

if TYPE_CHECKING:
    from localllm.core.calibration import Calibration
    from localllm.core.choice import Choice
    from localllm.core.kept import KeptModel
    from localllm.hub.headers.remote import Reading
    from localllm.offering import OnOffer


__all__ = ["Finder", "Watch"]


class Finder:
    """Looks names up for one machine."""

    def __init__(
        self,
        hardware: Callable[[], Hardware],
        *,
        calibration: Callable[[], Calibration | None] = lambda: None,
        watch: Watch | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Ask nothing yet."""
        self._hardware, self._calibration = hardware, calibration
        self._watch = watch or Watch()
        self._environ = environ

    def to_run(
        self, name: str, policy: Policy, *, fresh: bool = False, mends: bool = False
    ) -> Decided:
        """Return what a name means to be run; ``Decided.fetch`` says what has to come first.

        ``fresh``: ask the Hub even where something is here; ``mends``: where that is damaged.
        Raises NotFoundError (exit 5) for a name that is nothing, or not here and there is to be no
        network; AccessError (4), UsageError (2) for wishes that contradict each other, and what
        reading headers does.
        """
        meant = self._meant(name)
        wished = self._wished(name, meant, policy)
        if isinstance(meant, PathName | AddressName):
            model = resolve(_text(meant), self._environ)
            check_quant(model.spec, policy)
            return self._as_it_is(name, model, policy)
        if fresh and is_offline(self._environ):
            raise NotFoundError(
                f"{printable(name)} cannot be looked up again: there is to be no network.",
                hint="Leave out --fresh to use what is here.",
            )
        if not fresh and (decided := self._kept_whole(name, meant, wished, mends)) is not None:
            return decided
        return self._on_hub(name, meant, wished, to_run=True)

    def to_plan(
        self, name: str, policy: Policy, *, found: Callable[[Plannable], Decided] | None = None
    ) -> Decided:
        """Return what a name means to be planned: a file, a header, or a recorded shape.

        ``found``: decides what is left open of a file, an address or a recorded shape; the kept
        and the offered models are chosen between here. Raises what ``to_run`` does.
        """
        decide_alone = found or (lambda each: self._as_it_is(name, each, policy))
        meant = self._meant(name)
        if isinstance(meant, PathName | AddressName):
            return decide_alone(self._plannable(_text(meant)))
        from localllm.hub.known.models import known_model

        wished = self._wished(name, meant, policy)
        is_file = isinstance(meant, RepoName) and meant.path is not None
        is_known = isinstance(meant, PlainName) and known_model(_text(meant)) is not None
        # what is best for another machine may not be what is here
        is_fixed = is_file or (not is_known and wished.quant is not None)
        runs_here = is_fixed or self._hardware().source == THIS_MACHINE
        if runs_here and (decided := self._kept(meant, wished)) is not None:
            return decided
        if is_known or is_file:
            return decide_alone(self._plannable(name if is_file else _text(meant)))
        return self._on_hub(name, meant, wished, to_run=False)

    def plannable(self, name: str, policy: Policy) -> Plannable:
        """Return what a name means to be planned; what a known one leaves open stays so."""
        meant = self._meant(name)
        if isinstance(meant, PathName | AddressName):
            return self._plannable(_text(meant))
        from localllm.hub.known.models import known_model

        if isinstance(meant, PlainName) and known_model(_text(meant)) is not None:
            return self._plannable(_text(meant))
        return self.to_plan(name, policy).model

    # -- names -----------------------------------------------------------------------------------

    def _meant(self, name: str) -> ModelName:
        """A name without the person's own aliases: they stand for another name."""
        return meaning_of(name, self._environ)

    def _wished(self, name: str, meant: ModelName, policy: Policy) -> Policy:
        """The policy with the quantisation that the name asks for. Raises UsageError for two."""
        quant = getattr(meant, "quant", None)
        if quant is None:
            return policy
        from localllm.hub.offers.offers import same_quant

        if policy.quant is not None and not same_quant(policy.quant, quant):
            raise UsageError(
                f"{printable(name)} names {quant} already, and --quant {policy.quant} another"
                " quantisation.",
                hint="Leave out one of them.",
            )
        return replace(policy, quant=quant)

    def _plannable(self, name: str) -> Plannable:
        return resolve_for_plan(name, on_reading=self._on_reading, environ=self._environ)

    def _on_reading(self, reading: Reading) -> None:
        self._watch.on_reading(reading.n_bytes, reading.waiting_for)

    def _as_it_is(self, name: str, found: Plannable, policy: Policy) -> Decided:
        return decide(name, found, self._hardware(), policy, calibration=self._calibration())

    # -- here ------------------------------------------------------------------------------------

    def _kept_whole(
        self, name: str, meant: ModelName, policy: Policy, mends: bool
    ) -> Decided | None:
        """What is here of a model; None, with a note, where that is damaged and to be mended."""
        try:
            return self._kept(meant, policy)
        except GGUFError as damaged:
            if not mends:
                raise GGUFError(
                    damaged.message,
                    offset=damaged.offset,
                    hint=f"`localllm pull {printable(name)}` fetches it anew.",
                ) from None
            self._watch.on_note(f"What is here is damaged, and fetched anew: {damaged.message}")
            return None

    def _kept(self, meant: ModelName, policy: Policy) -> Decided | None:
        """What is here of a model, chosen between where there are several quantisations."""
        from localllm.hub.kept.here import kept_as

        kept = kept_as(meant, quant=policy.quant, environ=self._environ)
        named_a_file = isinstance(meant, RepoName) and meant.path is not None
        if kept and not named_a_file:
            from localllm.hub.kept.meant import still_meant

            kept = still_meant(kept, self._environ)
        if not kept:
            return None
        current_first = sorted(kept, key=lambda each: not each.is_current)
        by_quant = {each.quant: each for each in reversed(current_first)}
        on_offer = [_kept_offer(each) for each in by_quant.values()]
        decided, taken = self._pick(on_offer, policy)
        if named_a_file:  # its quantisation may name another file of the repository
            decided = replace(decided, name=None)
        if note := by_quant[taken.quant].note:
            self._watch.on_note(note)
        if len(on_offer) == 1 and decided.choice is not None and not named_a_file:
            self._warn_of_loss(decided.choice, taken)
        return decided

    def _warn_of_loss(self, choice: Choice, taken: OnOffer) -> None:
        """Say where the only quantisation that is here is one that nobody would choose."""
        from localllm.core.quality import grade

        if grade(choice.best.loss.kld) == "large":
            self._watch.on_note(
                f"Only {taken.quant} is here, whose loss is large: `localllm pull --fresh` with"
                " the same name chooses among all that are on offer."
            )

    def _pick(
        self, on_offer: Sequence[OnOffer], policy: Policy, *, name: PlainName | None = None
    ) -> tuple[Decided, OnOffer]:
        from localllm.hub.known.models import known_model
        from localllm.offering import pick

        known = None if name is None or len(on_offer) < 2 else known_model(name.name)
        return pick(
            on_offer,
            self._hardware(),
            policy,
            guess=None if known is None else known.spec,
            calibration=self._calibration(),
        )

    # -- the Hub ---------------------------------------------------------------------------------

    def _on_hub(self, name: str, meant: ModelName, policy: Policy, *, to_run: bool) -> Decided:
        if isinstance(meant, ToolName):
            raise NotFoundError(
                f"There is no complete {printable(name)} in the folder of {meant.tool}.",
                hint="`localllm list` shows what is here.",
            )
        assert isinstance(meant, RepoName | PlainName)
        from localllm.hub.kept.here import kept_as

        known = meant if isinstance(meant, PlainName) else None
        return find_on_hub(
            name,
            meant,
            policy,
            pick=lambda on_offer: self._pick(on_offer, policy, name=known),
            watch=self._watch,
            environ=self._environ,
            to_run=to_run,
            here=lambda: [each.quant for each in kept_as(meant, environ=self._environ)],
        )


def _kept_offer(kept: KeptModel) -> OnOffer:
    from localllm.offering import OnOffer

    return OnOffer(
        name=kept.name, quant=kept.quant, n_bytes=kept.n_bytes, read=lambda: kept_model(kept)
    )


def _text(meant: ModelName) -> str:
    """What of a name the older doors read: a path, an address, a known name."""
    match meant:
        case PathName(path=path):
            return path
        case AddressName(address=address):
            return address
        case PlainName():
            return plain_text(meant)
    raise AssertionError(meant)
