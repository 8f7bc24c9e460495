"""A plan's estimates in words: tokens per second, watts, joules and money, with their ranges.

A figure that nobody can estimate is None, and says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from localllm.core.energy import power_unknown
from localllm.core.estimate import N_PROMPT
from localllm.core.plan import CostEstimate, Plan, PowerEstimate, SpeedEstimate
from localllm.core.prediction import run_of_plan
from localllm.units import format_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """One figure of a plan as it is printed. Always an estimate."""

    figure: str
    unit: str
    value: float
    ends: tuple[str, str] | None = None
    low: float | None = None
    high: float | None = None
    """The 80 % range, and as it is printed; None where there is none."""

    @property
    def said(self) -> str:
        """The figure with its unit and its range."""
        text = f"{self.figure} {self.unit}"
        return text if self.ends is None else f"{text} ({self.ends[0]} to {self.ends[1]})"


def decode(speed: SpeedEstimate) -> Estimated:
    """Return the speed of generated tokens."""
    return _rate(speed.tg_tok_s, speed.tg_low, speed.tg_high)


def prompt(speed: SpeedEstimate) -> Estimated | None:
    """Return the speed of a prompt."""
    if speed.pp_tok_s is None:
        return None
    return _rate(speed.pp_tok_s, speed.pp_low, speed.pp_high)


def watts(power: PowerEstimate) -> Estimated:
    """Return the draw of the power's scope while decoding."""
    return watts_of(power.board_w, power.board_low_w, power.board_high_w)


def watts_of(value: float, low: float | None, high: float | None) -> Estimated:
    """Return estimated watts with their range."""
    return Estimated(
        figure=f"{value:,.0f}",
        unit="W",
        value=value,
        ends=None if low is None or high is None else (f"{low:.0f}", f"{high:.0f}"),
        low=low,
        high=high,
    )


def joules(power: PowerEstimate) -> Estimated:
    """Return the energy of one generated token, of the same scope."""
    value = power.j_per_token
    return Estimated(figure=format_rate(value), unit="J per token", value=value)


def price(cost: CostEstimate) -> Estimated:
    """Return what a million generated tokens cost."""
    value, unit = cost.per_million_tokens, f"{cost.currency} per million tokens"
    return Estimated(figure=f"{value:.2f}", unit=unit, value=value)


def prompt_label(speed: SpeedEstimate) -> str:
    """Return ``prompt``, with its length where it is not the usual one."""
    return f"prompt of {speed.n_prompt:,} tokens" if speed.n_prompt > N_PROMPT else "prompt"


def depth_words(speed: SpeedEstimate) -> str:
    """Return where in the context the speed is for; nothing at its beginning."""
    return f"{speed.at_depth:,} tokens into the context" if speed.at_depth else ""


def speed_sentences(plan: Plan) -> Iterator[str]:
    """Yield the speed of decode and prompt, and what binds it."""
    speed = plan.speed
    if speed is None:
        return
    facts, of_prompt = [decode(speed).said], prompt(speed)
    if of_prompt is not None:
        facts.append(f"{prompt_label(speed)} {of_prompt.said}")
    facts += filter(None, [depth_words(speed)])
    yield f"{', '.join(facts)}; bound by {speed.bound_by} (estimate: {speed.basis})."


def power_sentences(plan: Plan, *, explain: bool = False) -> Iterator[str]:
    """Yield watts and joules with their scope, what a socket must bear, and what it costs."""
    power, cost = plan.power, plan.cost
    if power is not None:
        yield (
            f"{watts(power).said} on the {power.scope} while decoding, {joules(power).said} "
            f"(estimate)."
        )
        several = sum(row.kind == "gpu" for row in plan.devices) > 1
        if power.circuit is not None and (several or explain):
            yield power.circuit
        if explain:
            yield f"{power.basis[0].upper()}{power.basis[1:]}."
    if cost is not None:
        yield f"{price(cost).said} ({cost.basis})."


def no_speed(plan: Plan) -> str:
    """Say why a plan has no estimate of its speed."""
    return "no estimate: the plan does not fit" if plan.verdict != "fits" else "no estimate"


def no_power(plan: Plan) -> str:
    """Say why a plan has no estimate of its power."""
    if plan.speed is None:
        return no_speed(plan)
    return power_unknown(run_of_plan(plan)) or "no estimate of power"


def _rate(value: float, low: float | None, high: float | None) -> Estimated:
    return Estimated(
        figure=format_rate(value),
        unit="tok/s",
        value=value,
        ends=None if low is None or high is None else (format_rate(low), format_rate(high)),
        low=low,
        high=high,
    )
