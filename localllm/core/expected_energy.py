"""The plan's estimate of power and energy for one certain run, of what a meter measures.

A plan states watts of its own scope at one depth. A meter may see less (the boards, without the
processors), and an answer has its own depth: comparing across scopes would blame the estimate for
what nobody measured. Where the plan has no estimate of a meter's scope, there is none.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from localllm.core.plan import Plan, PowerEstimate, Scope
from localllm.core.prediction import Prediction, Predictor

_PART = re.compile(r"(?:(\d+) )?(GPU board|CPU package|whole chip)s?")
"""One part of ``readings.Energy.scope``, and how many of it were added."""
_METERED: Mapping[Scope, set[str]] = {
    "GPU boards": {"GPU board"},
    "GPU boards and CPU": {"GPU board", "CPU package"},
    "CPU package": {"CPU package"},
    "whole chip": {"whole chip"},
}
"""What a meter of a plan's scope says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedEnergy:
    """What one run should take, of one scope."""

    scope: str
    """As a meter says it; for a plan's own scope as the plan does."""
    watts: float
    """Mean over the run."""
    j_per_token: float
    low: float | None = None
    high: float | None = None
    """80 % range of ``j_per_token``: that of the watts and that of the speed, as independent."""


def expected_energy(
    plan: Plan,
    *,
    n_prompt: int,
    n_gen: int,
    depth: int,
    scope: str | None = None,
    predictor: Predictor | None = None,
) -> ExpectedEnergy | None:
    """Return the estimate for ``n_prompt`` tokens of a prompt and ``n_gen`` decoded ones.

    ``depth`` tokens lie in the context before them. ``scope``: whose energy, as
    ``readings.Energy.scope``; None for the plan's own. ``predictor``: the plan's, kept by whoever
    asks often. None where the plan has no estimate.
    """
    power = plan.power
    if power is None:
        return None
    predictor = predictor or Predictor(plan)
    joules = seconds = 0.0
    ranges: list[Prediction] = []
    parts: list[tuple[Literal["pp", "tg"], int, int]] = [
        ("pp", n_prompt, depth),
        ("tg", n_gen, depth + n_prompt),
    ]
    for phase, n_tokens, before in parts:
        if not n_tokens:
            continue
        speed = predictor.predicted(phase, n_tokens=n_tokens, depth=before)
        watts = scope_w(power, phase, scope)
        if speed is None or watts is None:
            return None
        seconds += n_tokens / speed.tok_s
        joules += watts * n_tokens / speed.tok_s
        ranges.append(speed)
    if not seconds or not joules > 0:
        return None
    per_token = joules / (n_prompt + n_gen)
    own = scope is None or _same(power, scope)
    low, high = _range(per_token, power, ranges[0]) if own and not n_prompt else (None, None)
    return ExpectedEnergy(
        scope=scope or power.scope,
        watts=joules / seconds,
        j_per_token=per_token,
        low=low,
        high=high,
    )


def scope_w(power: PowerEstimate, phase: Literal["pp", "tg"], scope: str | None) -> float | None:
    """Return the estimated mean watts of a meter's scope in a phase; None where there is none.

    ``scope`` as in ``expected_energy``.
    """
    if scope is None or _same(power, scope):
        return power.board_w if phase == "tg" else power.prefill_board_w
    parts = _parts(scope)
    if parts is None:
        return None
    rows = {
        "GPU board": [row for row in power.devices if row.name != "host"],
        "CPU package": [row for row in power.devices if row.name == "host"],
    }
    if parts["GPU board"] and parts["GPU board"] != len(rows["GPU board"]):
        return None  # one of the meters was lost, or a card has none
    if any(not rows.get(name) for name in parts) or power.scope == "whole chip":
        return None
    counted = [row for name in parts for row in rows[name]]
    return sum(row.decode_w if phase == "tg" else row.prefill_w for row in counted)


def _same(power: PowerEstimate, scope: str) -> bool:
    """Whether a meter's scope is the plan's own, all its boards included."""
    parts = _parts(scope)
    n_boards = sum(row.name != "host" for row in power.devices)
    return (
        parts is not None
        and set(parts) == _METERED[power.scope]
        and parts["GPU board"] in (0, n_boards)
    )


def _parts(scope: str) -> Counter[str] | None:
    """Return how many of which meters were added; None where one is unlike what plans estimate.

    What a scope is said to be ``without`` was not added: ``GPU board without CPU package``.
    """
    counted: Counter[str] = Counter()
    for text in scope.replace(" without ", " + without ").split(" + "):
        if text.startswith("without "):
            continue
        part = _PART.fullmatch(text)
        if part is None:
            return None
        counted[part[2]] += int(part[1] or 1)
    return counted


def _range(
    j_per_token: float, power: PowerEstimate, speed: Prediction
) -> tuple[float, float] | tuple[None, None]:
    low_w, high_w = power.board_low_w, power.board_high_w
    if low_w is None or high_w is None or not 0 < low_w <= power.board_w <= high_w:
        return None, None
    below = math.hypot(math.log(power.board_w / low_w), math.log(speed.high / speed.tok_s))
    above = math.hypot(math.log(high_w / power.board_w), math.log(speed.tok_s / speed.low))
    return j_per_token / math.exp(below), j_per_token * math.exp(above)
