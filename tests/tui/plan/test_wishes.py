"""What turning a knob makes of the wishes: the model behind the panel, without a screen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.choosing import decide
from localllm.core.change import Change
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.errors import UsageError
from localllm.lookups import resolve_for_plan
from localllm.tui.plan.knob import Knob, Offered, Scene
from localllm.tui.plan.knobs import KNOBS, knobs_of
from localllm.tui.plan.wishes import applied, carried_over, reading, slid, stepped, typed
from localllm.units import GiB, MiB
from tests.support.specs import gpu, llama, llama_3_8b, machine, mixtral

USUAL = Policy()
QUANTS = (Offered(quant="IQ4_XS", n_bytes=4 * GiB), Offered(quant="Q4_K_M", n_bytes=5 * GiB))


def scene(wishes: Policy = USUAL) -> Scene:
    plan = make_plan(llama_3_8b(), machine(gpu()), wishes)
    return Scene(plan=plan, offered=QUANTS, is_open=True)


def knob(name: str) -> Knob:
    return next(knob for knob in KNOBS if knob.name == name)


def test_the_first_step_begins_at_what_the_planner_took() -> None:
    here = scene()
    assert stepped(knob("n_ctx"), USUAL, here, +1).n_ctx == 16384
    assert stepped(knob("n_ctx"), USUAL, here, -1).n_ctx == 4096
    assert stepped(knob("n_gpu_layers"), USUAL, here, -1).n_gpu_layers == 32
    assert stepped(knob("headroom"), USUAL, here, +1).vram_headroom_bytes == GiB
    assert stepped(knob("quant"), USUAL, here, -1).quant == "IQ4_XS"
    assert stepped(knob("kv"), USUAL, here, -1).type_v == "q8_0"


def test_beyond_the_longest_context_is_the_largest_that_fits() -> None:
    longest = Policy(n_ctx=131072)
    wish = stepped(knob("n_ctx"), longest, scene(longest), +1)
    assert wish.n_ctx == "max"
    taken = scene(wish)
    assert reading(knob("n_ctx"), wish, taken).text == f"max {taken.plan.n_ctx:,}"
    assert stepped(knob("n_ctx"), wish, taken, +1) == wish
    below = stepped(knob("n_ctx"), wish, taken, -1).n_ctx
    assert isinstance(below, int)
    assert taken.plan.n_ctx / 2 <= below < taken.plan.n_ctx


def test_a_value_between_two_steps_goes_to_its_neighbours() -> None:
    odd = Policy(n_ctx=10_000, vram_headroom_fraction=0.05)
    here = scene(odd)
    assert stepped(knob("n_ctx"), odd, here, +1).n_ctx == 16384
    assert stepped(knob("n_ctx"), odd, here, -1).n_ctx == 8192
    more = stepped(knob("headroom"), odd, here, +1)  # 5 % of 24 GiB are 1.2 GiB
    assert (more.vram_headroom_bytes, more.vram_headroom_fraction) == (2 * GiB, None)


@pytest.mark.parametrize("each", KNOBS, ids=lambda each: each.name)
def test_an_open_knob_and_a_fixed_one_read_differently(each: Knob) -> None:
    here = scene()
    assert reading(each, USUAL, here).is_auto
    fixed = stepped(each, USUAL, here, -1 if each.name != "depth" else +1)
    assert not reading(each, fixed, here).is_auto
    assert typed(each, fixed, "auto") == USUAL


@pytest.mark.parametrize("each", KNOBS, ids=lambda each: each.name)
def test_a_knob_goes_through_all_its_values(each: Knob) -> None:
    here = scene()
    rungs, seen = list(each.rungs(here)), list[Policy]()
    wishes = stepped(each, USUAL, here, -99)
    for _ in rungs:
        seen.append(wishes)
        wishes = stepped(each, wishes, here, +1)
    assert seen == [each.write(USUAL, rung) for rung in rungs]
    assert wishes == seen[-1]


@pytest.mark.parametrize("each", KNOBS, ids=lambda each: each.name)
def test_what_a_knob_offers_can_be_planned(each: Knob) -> None:
    """A smaller model than any, so that every rung is tried."""
    model = llama(name="small", n_layer=2, n_embd=256, n_head=4, n_head_kv=4, n_ff=256)
    here = Scene(plan=make_plan(model, machine(gpu()), USUAL), offered=QUANTS)
    if each.name == "n_cpu_moe":
        return
    for rung in each.rungs(here):
        wishes = each.write(USUAL, rung)
        plan = make_plan(model, machine(gpu()), wishes)
        assert reading(each, wishes, replace(here, plan=plan)).text
        if each.name != "prefer":
            assert typed(each, USUAL, "best" if rung == "auto" else str(rung)) == wishes


def test_a_slider_reaches_both_ends() -> None:
    here = scene()
    for name in ("n_ctx", "n_gpu_layers", "headroom"):
        each = knob(name)
        for share in (0.0, 1.0):
            wishes = slid(each, USUAL, here, share)
            assert reading(each, wishes, scene(wishes)).share == share
    assert slid(knob("n_ctx"), USUAL, here, 1.0).n_ctx == 131072


def test_what_is_typed_is_read_as_the_command_line_reads_it() -> None:
    assert typed(knob("n_ctx"), USUAL, "32k").n_ctx == 32768
    assert typed(knob("n_gpu_layers"), USUAL, "all").n_gpu_layers == 9999
    assert typed(knob("headroom"), USUAL, "5%").vram_headroom_fraction == 0.05
    assert typed(knob("headroom"), USUAL, "256MiB").vram_headroom_bytes == 256 * MiB
    assert typed(knob("kv"), USUAL, "best").type_k == "auto"
    with pytest.raises(UsageError, match="context: 'many' is not a context"):
        typed(knob("n_ctx"), USUAL, "many")


def test_only_what_changes_something_is_offered() -> None:
    names = {knob.name for knob in knobs_of(Scene(plan=make_plan(llama_3_8b(), machine(), USUAL)))}
    assert {"n_ctx", "kv", "n_batch"} <= names
    assert not {"n_gpu_layers", "n_cpu_moe", "headroom", "quant", "prefer"} & names
    mixed = Scene(plan=make_plan(mixtral(), machine(gpu()), USUAL))
    assert "n_cpu_moe" in {knob.name for knob in knobs_of(mixed)}


def test_what_would_help_is_applied_to_what_was_chosen() -> None:
    """Chosen anew under the change, another quantisation might be the best."""
    found = resolve_for_plan("llama-3-8b")
    decided = decide("llama-3-8b", found, machine(gpu(free=6 * GiB)), USUAL)
    assert decided.choice is not None
    wishes = applied(Change(wishes={"n_ctx": 4096}), USUAL, decided)
    assert (wishes.n_ctx, wishes.quant) == (4096, decided.policy.quant)
    assert wishes.type_k == decided.policy.type_k
    plain = replace(decided, choice=None)
    assert applied(Change(wishes={"n_ctx": 4096}), USUAL, plain) == Policy(n_ctx=4096)


def test_the_choice_is_kept_until_there_is_another() -> None:
    found = resolve_for_plan("llama-3-8b")
    decided = decide("llama-3-8b", found, machine(gpu(free=6 * GiB)), USUAL)
    kept = carried_over(decided, Policy(n_ctx=2048)).policy
    assert (kept.n_ctx, kept.quant) == (2048, decided.policy.quant)
    assert kept.type_k == decided.policy.type_k
    assert carried_over(decided, Policy(type_k="f16", type_v="f16")).policy.type_v == "f16"
    own = replace(decided, asked=Policy(type_k="q4_0"), policy=Policy(type_k="q4_0"))
    assert carried_over(own, USUAL).policy.type_k is None
