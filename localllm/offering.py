"""One model in the quantisations that a repository offers: which one, by few headers.

Composition only: what is best is decided in ``core/choice.py``. The listing gives sizes, and
llama.cpp's recipes the types; what wins by these estimates has its header read and is weighed again
with what that says, until the winner's header is known. No weights are fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from localllm.choosing import Decided, definite_policy
from localllm.core.as_offered import as_offered
from localllm.core.calibration import Calibration
from localllm.core.choice import Choice, Chooser
from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.option import Option
from localllm.core.policy import Policy
from localllm.planning import Plannable

MAX_HEADERS = 6
"""Of one repository, some 8 MiB each: estimates and headers agree after one or two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnOffer:
    """One quantisation of a model, and how to learn what its header says."""

    name: str
    """What finds it again."""
    quant: str
    """As its publisher names it; ``?`` where the name of the file does not say."""
    n_bytes: int
    read: Callable[[], Plannable]
    """Read its header, or what is here of it; slow the first time."""


def pick(
    on_offer: Sequence[OnOffer],
    hardware: Hardware,
    policy: Policy,
    *,
    guess: ModelSpec | None = None,
    calibration: Calibration | None = None,
) -> tuple[Decided, OnOffer]:
    """Choose among what is on offer, and return what is to be planned, and which it is.

    ``guess``: a recorded shape of the model, which saves the first header. Where the policy names a
    quantisation there is one on offer, and the cache is chosen only for a stated wish. Raises what
    reading a header does, and UsageError for wishes that contradict each other.
    """
    known: dict[str, Plannable] = {}
    offered = [each for each in on_offer if each.quant != "?"] or list(on_offer)
    if len(offered) == 1 and not _leaves_cache_open(policy):
        model = offered[0].read()
        fixed = replace(policy, quant=model.spec.quant)
        return Decided(
            model=model,
            policy=fixed,
            asked=policy,
            choice=None,
            alternatives=None,
            name=offered[0].name,
        ), offered[0]
    wishes = replace(policy, quant=None)
    by_quant = {each.quant: each for each in offered}
    reference = guess
    if reference is None or len(offered) == 1:
        first = _middle(offered)
        known[first.quant] = first.read()
        reference = known[first.quant].spec
    while True:
        choice = _choose(offered, known, reference, hardware, wishes, calibration)
        quant = choice.best.model.quant
        if quant in known:
            break
        if len(known) >= MAX_HEADERS:  # estimates and headers never agree: what is known, then
            offered = [each for each in offered if each.quant in known]
            continue
        known[quant] = by_quant[quant].read()
        reference = known[quant].spec
    model = known[quant]
    definite = replace(definite_policy(policy, choice.best), quant=model.spec.quant)
    others = [each for each in offered if each.quant != quant]
    return Decided(
        model=model,
        policy=definite,
        asked=policy,
        choice=choice,
        alternatives=None,
        name=by_quant[quant].name,
        runner_up=_runner_up(others, known, reference, hardware, wishes, calibration),
    ), by_quant[quant]


def _choose(
    offered: Sequence[OnOffer],
    known: dict[str, Plannable],
    reference: ModelSpec,
    hardware: Hardware,
    policy: Policy,
    calibration: Calibration | None,
) -> Choice:
    variants = [
        replace(known[each.quant].spec, quant=each.quant)
        if each.quant in known
        else as_offered(reference, each.quant, each.n_bytes)
        for each in offered
    ]
    return Chooser(variants).choose(hardware, policy, alternatives=False, calibration=calibration)


def _runner_up(
    others: Sequence[OnOffer],
    known: dict[str, Plannable],
    reference: ModelSpec,
    hardware: Hardware,
    policy: Policy,
    calibration: Calibration | None,
) -> Option | None:
    if not others:
        return None
    return _choose(others, known, reference, hardware, policy, calibration).best


def _middle(offered: Sequence[OnOffer]) -> OnOffer:
    """The one to look at first where nothing is known of the model: the likeliest to be taken."""
    by_size = sorted(offered, key=lambda each: each.n_bytes)
    usual = next((each for each in offered if each.quant == "Q4_K_M"), None)
    return usual or by_size[len(by_size) // 2]


def _leaves_cache_open(policy: Policy) -> bool:
    return policy.quant is None or policy.states_a_wish
