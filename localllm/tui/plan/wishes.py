"""What turning a knob makes of the wishes, and how a knob then reads. Pure: values in, values out.

Steps begin at what the plan has, so that the first step from "left to the planner" is a small one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor

from localllm.choosing import Decided
from localllm.core.change import Change
from localllm.core.policy import Policy
from localllm.errors import UsageError
from localllm.tui.plan.knob import BEST, LARGEST, Knob, Scene, Value

WISHES = (LARGEST, BEST)
"""Values that are wishes of their own: what they come to is the plan's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a knob stands."""

    text: str
    is_auto: bool
    """Left to the planner: ``text`` is what it took."""
    share: float | None
    """Where it is between the least and the most, 0 to 1; None where that says nothing."""


def reading(knob: Knob, wishes: Policy, scene: Scene) -> Reading:
    """Return how a knob stands: what is fixed, or what the plan took."""
    value = knob.read(wishes)
    shown = knob.taken(scene.plan, wishes) if value is None else value
    value_now = _fixed_value(knob, wishes, scene)
    share = _share(knob.rungs(scene), value_now) if knob.slides else None
    return Reading(text=knob.text(shown, scene), is_auto=value is None, share=share)


def stepped(knob: Knob, wishes: Policy, scene: Scene, steps: int) -> Policy:
    """Return the wishes with a knob turned by so many steps, at most to its end."""
    rungs = knob.rungs(scene)
    if not rungs or (steps > 0 and _is_wish(knob.read(wishes), rungs)):
        return wishes
    place = _place(rungs, _fixed_value(knob, wishes, scene))
    index = (floor(place) if steps > 0 else ceil(place)) + steps
    return knob.write(wishes, rungs[min(max(index, 0), len(rungs) - 1)])


def slid(knob: Knob, wishes: Policy, scene: Scene, share: float) -> Policy:
    """Return the wishes with a knob put at a place between its least (0) and its most (1)."""
    places = _places(knob.rungs(scene))
    index = round(min(max(share, 0.0), 1.0) * (len(places) - 1))
    return knob.write(wishes, places[index])


def typed(knob: Knob, wishes: Policy, text: str) -> Policy:
    """Return the wishes with what a person wrote for a knob; ``auto`` leaves it to the planner.

    Raises UsageError for what cannot be read.
    """
    word = text.strip()
    if not word or word.lower() == "auto":
        return knob.write(wishes, None)
    try:
        return knob.write(wishes, knob.parse(word))
    except ValueError as error:
        raise UsageError(f"{knob.label}: {word[:40]!r} {error}.", hint=knob.about) from None


def applied(change: Change, wishes: Policy, decided: Decided) -> Policy:
    """Return the wishes with what would help a plan.

    It was worked out for what was chosen, so that is fixed with it: chosen anew, something else
    might be better under the change, and the promise would be another plan's.
    """
    return change.of(wishes if decided.choice is None else decided.policy)


def carried_over(decided: Decided, wishes: Policy) -> Decided:
    """Return what was decided with other wishes, what was chosen for the old ones kept."""
    was = decided.policy
    policy = replace(
        wishes,
        quant=was.quant,
        type_k=wishes.type_k or _chosen(was.type_k, decided.asked.type_k),
        type_v=wishes.type_v or _chosen(was.type_v, decided.asked.type_v),
    )
    return replace(decided, policy=policy, asked=wishes)


def _chosen(definite: str | None, asked: str | None) -> str | None:
    """A cache type that was chosen; None where it was the person's own, and is no longer."""
    return definite if asked is None else None


# -- rungs ---------------------------------------------------------------------------------------


def _fixed_value(knob: Knob, wishes: Policy, scene: Scene) -> Value:
    """What the knob is at: what is fixed, else (and for a wish, max or best) what the plan has."""
    value = knob.read(wishes)
    if value is None or _is_wish(value, knob.rungs(scene)) or isinstance(value, float):
        return knob.taken(scene.plan, wishes)
    return value


def _is_wish(value: Value | None, rungs: Sequence[Value]) -> bool:
    """Whether it is a last rung that leaves the value itself to the planner: max, best."""
    return bool(rungs) and value in WISHES and value == rungs[-1]


def _places(rungs: Sequence[Value]) -> Sequence[Value]:
    """The rungs that are values."""
    return rungs[:-1] if _is_wish(rungs[-1], rungs) else rungs


def _place(rungs: Sequence[Value], value: Value) -> float:
    """Where a value is among the rungs, between two of them where it is none."""
    if value in rungs:
        return float(rungs.index(value))
    numbers = [rung for rung in _places(rungs) if not isinstance(rung, str)]
    if isinstance(value, str) or not numbers:
        first, _, _ = str(value).partition("/")
        return float(rungs.index(first)) if first in rungs else 0.0
    above = bisect_left(numbers, value)
    if not 0 < above < len(numbers):
        return float(min(above, len(numbers) - 1))
    low, high = numbers[above - 1], numbers[above]
    return above - 1 + (value - low) / (high - low)


def _share(rungs: Sequence[Value], value: Value) -> float:
    last = len(_places(rungs)) - 1
    return min(_place(rungs, value) / last, 1.0) if last > 0 else 1.0
