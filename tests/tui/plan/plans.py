"""Plans of the real planner, on profiles, for the pictures of a plan."""

from __future__ import annotations

from functools import cache

from localllm.core.plan import Plan
from localllm.core.policy import Policy, Prices
from localllm.session import Session, hardware_named


@cache
def plan_on(model: str, hardware: str, policy: Policy | None = None) -> Plan:
    """Plan a known model by formula on a profile."""
    policy = policy or Policy()
    with Session(hardware=hardware_named(hardware), basis="formula") as session:
        return session.make_plan(session.plannable(model, policy), policy)


def in_part() -> Plan:
    """Dense, 43 of 81 layers on the card."""
    return plan_on("llama-3-70b", "rtx-4090")


def experts_apart() -> Plan:
    """A mixture, the experts of 33 of its 48 layers in RAM."""
    return plan_on("qwen3-30b-a3b", "rtx-4060")


def on_two() -> Plan:
    """Two cards, with a price."""
    return plan_on("llama-3-70b", "2x rtx-4090", Policy(prices=Prices(per_kwh=0.3)))


def on_cpu() -> Plan:
    """RAM alone, of which rearranged weights are a part."""
    return plan_on("llama-3-8b", "desktop-ddr5")


def on_shared() -> Plan:
    """A GPU that takes its memory from the RAM."""
    return plan_on("llama-3-70b", "apple-m3-max")


def too_large() -> Plan:
    """What does not fit, by far."""
    return plan_on("llama-3-70b", "laptop-ddr4")


def all_plans() -> list[Plan]:
    """One of each kind."""
    return [in_part(), experts_apart(), on_two(), on_cpu(), on_shared(), too_large()]
