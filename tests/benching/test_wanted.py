"""What is proposed to somebody who has not said what to measure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.benching.wanted import PATIENCE_S, Wanted, expected_s, proposed, usual
from localllm.core.plan import Plan
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from tests.core.test_documents import plan_8b
from tests.support.specs import gpu, llama_3_70b, machine


def short(plan: Plan, wanted: Wanted) -> bool:
    seconds = expected_s(plan, wanted)
    return seconds is not None and seconds <= PATIENCE_S


def test_a_fast_machine_is_asked_for_more_than_a_slow_one() -> None:
    """Both end within a minute by the estimate; the usual tests would not on the slow one."""
    fast, slow = plan_8b(gpu()), plan_8b()
    assert short(fast, proposed(fast)) and short(slow, proposed(slow))
    assert not short(slow, usual("standard"))
    assert proposed(slow).mode == "quick"
    assert proposed(fast).mode == "standard"
    assert max(proposed(fast).depths) > max(proposed(slow).depths)


def test_where_nothing_ends_in_time_the_shortest_is_proposed() -> None:
    plan = make_plan(llama_3_70b(), machine(), Policy(n_ctx=512))
    wanted = proposed(plan)
    assert (wanted.mode, wanted.depths, short(plan, wanted)) == ("quick", (0,), False)
    assert proposed(replace(plan, speed=None)) == wanted
    assert expected_s(replace(plan, speed=None), wanted) is None


@pytest.mark.parametrize("most_tokens", [200, 700, 2000])
def test_no_more_is_proposed_than_the_context_holds(most_tokens: int) -> None:
    wanted = proposed(plan_8b(gpu()), most_tokens=most_tokens)
    assert max(t.n_prompt + t.n_gen + t.n_depth for t in wanted.tests) <= most_tokens


def test_the_time_expected_leaves_out_the_load_and_counts_the_rest() -> None:
    plan = plan_8b(gpu())
    tests = replace(usual("standard"), chat=False)
    alone, chatting = expected_s(plan, tests), expected_s(plan, replace(tests, chat=True))
    steady = expected_s(plan, replace(tests, mode="steady"))
    assert alone is not None and chatting is not None and steady is not None
    assert alone < chatting < steady
    assert steady >= 2 * (5 * 10 + 10)
