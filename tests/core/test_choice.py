"""The joint choice, held against trying every fixed choice that the policy allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product

import pytest

from localllm.core.breakdown import MemoryModel
from localllm.core.choice import Choice, Chooser, Option, choose, rank
from localllm.core.choice_words import label
from localllm.core.estimate import Estimator
from localllm.core.model import ModelSpec
from localllm.core.planner import solve
from localllm.core.policy import KV_CHOICES, Policy, Preference
from localllm.core.preferences import (
    LARGE_KLD,
    READING_TOK_S,
    UNNOTICED_KLD,
    USABLE_TOK_S,
    Merits,
    order,
)
from localllm.core.quality import total_loss
from localllm.core.requantise import requantised
from localllm.core.solution import Solution
from localllm.errors import UsageError
from localllm.units import GiB
from tests.support.specs import gpu, host, llama, llama_3_8b, machine, slow_ram

QUANTS = ("Q8_0", "Q6_K", "Q4_K_M", "IQ2_XXS")
PREFERENCES: tuple[Preference, ...] = ("balanced", "quality", "speed", "context")


def dense() -> ModelSpec:
    return llama(name="dense", n_layer=8, n_ctx_train=32768)


def mixture() -> ModelSpec:
    return llama(
        name="mixture",
        n_layer=6,
        n_vocab=32000,
        n_ctx_train=32768,
        n_ff=7168,
        n_expert=8,
        n_expert_used=2,
    )


@cache
def offered(name: str) -> tuple[ModelSpec, ...]:
    model = {"dense": dense, "mixture": mixture}[name]()
    return tuple(requantised(model, quant) for quant in QUANTS)


MACHINES = {
    "whole": machine(gpu(free=24 * GiB)),
    "partly": slow_ram(gpu(free=2 * GiB - GiB // 4, bandwidth_gb_s=300.0)),
    "two": slow_ram(gpu(free=GiB + GiB // 2), gpu("CUDA1", free=2 * GiB, bandwidth_gb_s=500.0)),
    "no GPU": slow_ram(),
    "little RAM": slow_ram(ram=3 * GiB),
    "a GPU slower than the RAM": replace(
        machine(gpu(free=8 * GiB, bandwidth_gb_s=60.0)),
        host=replace(host(), memory_bandwidth_gb_s=460.0),
    ),
}


@cache
def solutions(name: str, where: str, n_ctx: int | None) -> tuple[tuple[Policy, Solution], ...]:
    """Every fixed choice, placed as ``make_plan`` places it."""
    hardware, found = MACHINES[where], []
    for model in offered(name):
        memory = MemoryModel(model, (), hardware.host)
        for kv, n_gpu_layers in product(KV_CHOICES, (None, 0)):
            policy = Policy(
                quant=model.quant, type_k=kv, type_v=kv, n_ctx=n_ctx, n_gpu_layers=n_gpu_layers
            )
            found.append((policy, solve(memory, hardware, policy)))
    return tuple(found)


@cache
def every(name: str, where: str, n_ctx: int | None, depth: int) -> tuple[Option, ...]:
    """Every fixed choice, estimated."""
    models = {model.quant: model for model in offered(name)}
    estimators = {
        quant: Estimator(model, MACHINES[where], Policy(depth=depth))
        for quant, model in models.items()
    }
    found: list[Option] = []
    for policy, solution in solutions(name, where, n_ctx):
        quant, shape = str(policy.quant), solution.settings.shape
        estimates = estimators[quant].estimate(solution)
        found.append(
            Option(
                model=models[quant],
                policy=policy,
                solution=solution,
                loss=total_loss(
                    models[quant],
                    quant,
                    type_k=shape.type_k,
                    type_v=shape.type_v,
                    n_ctx=shape.n_ctx,
                ),
                speed=estimates.speed,
                power=estimates.power,
                cost=estimates.cost,
            )
        )
    return tuple(found)


def policies() -> Iterator[Policy]:
    for prefer in PREFERENCES:
        yield Policy(prefer=prefer)
    yield Policy(depth=4096)
    yield Policy(min_tok_s=40.0)
    yield Policy(min_tok_s=4000.0, prefer="quality")
    yield Policy(max_j_per_token=0.5)
    yield Policy(min_tok_s=3.0, max_j_per_token=1.5, prefer="speed")
    yield Policy(n_ctx=32768, depth=4096)


@pytest.mark.parametrize("where", MACHINES)
@pytest.mark.parametrize("name", ["dense", "mixture"])
def test_the_choice_is_never_worse_than_any_fixed_choice(name: str, where: str) -> None:
    chooser = Chooser(offered(name))
    for policy in policies():
        best = chooser.choose(MACHINES[where], policy, alternatives=False).best
        n_ctx = policy.n_ctx if isinstance(policy.n_ctx, int) else None
        others = every(name, where, n_ctx, policy.depth)
        if policy.prefer == "context" and policy.n_ctx is None:
            others += every(name, where, 32768, policy.depth)
        assert rank(best, policy) >= max(rank(option, policy) for option in others)


@pytest.mark.parametrize("where", MACHINES)
def test_the_front_holds_what_nothing_beats_and_nothing_else(where: str) -> None:
    policy = Policy()
    choice = choose(offered("dense"), MACHINES[where], policy)
    front = [_merits(option) for option in choice.alternatives]
    assert choice.best in choice.alternatives
    assert all(not a.beaten_by(b) for a, b in product(front, front) if a is not b)
    for option in every("dense", where, None, 0):
        if option.fits:
            assert any(_merits(option).beaten_by(other) for other in front)
    losses = [option.loss.kld for option in choice.alternatives]
    assert losses == sorted(losses)


def test_without_alternatives_the_same_is_chosen() -> None:
    for where in ("partly", "no GPU"):
        hardware = MACHINES[where]
        chooser = Chooser(offered("mixture"))
        alone = chooser.choose(hardware, Policy(), alternatives=False)
        assert alone.best == chooser.choose(hardware, Policy()).best, where
        assert alone.alternatives == (alone.best,)


def test_the_chosen_policy_plans_the_same_again() -> None:
    for where in ("partly", "no GPU", "a GPU slower than the RAM"):
        hardware = MACHINES[where]
        best = choose(offered("dense"), hardware, Policy(prefer="context")).best
        memory = MemoryModel(best.model, (), hardware.host)
        assert solve(memory, hardware, best.policy).rows == best.solution.rows, where


def test_what_the_policy_fixes_is_kept() -> None:
    fixed = Policy(quant="q4_k_m", type_k="q8_0", type_v="q4_0", n_ctx=5000, n_ubatch=256)
    best = choose(offered("dense"), MACHINES["partly"], fixed).best
    shape = best.solution.settings.shape
    assert best.model.quant == "Q4_K_M"
    assert (shape.type_k, shape.type_v, shape.n_ctx, shape.n_ubatch) == ("q8_0", "q4_0", 5120, 256)
    assert best.policy.n_ctx == 5000


def test_a_context_that_was_asked_for_is_never_made_smaller() -> None:
    for where, prefer in product(("partly", "no GPU", "little RAM"), PREFERENCES):
        policy = Policy(n_ctx=32768, prefer=prefer)
        choice = choose(offered("dense"), MACHINES[where], policy, alternatives=prefer == "speed")
        assert all(option.n_ctx == 32768 for option in choice.alternatives)


def test_context_first_gives_the_longest_that_still_reads_along() -> None:
    hardware = MACHINES["partly"]
    best = choose(offered("dense"), hardware, Policy(prefer="context")).best
    assert best.n_ctx > 8192
    assert best.tok_s >= READING_TOK_S
    longer = Policy(prefer="context", n_ctx=min(best.n_ctx + 256, 32768))
    assert best.n_ctx == 32768 or not any(
        option.n_ctx > best.n_ctx and option.tok_s >= READING_TOK_S and option.loss.kld < LARGE_KLD
        for option in choose(offered("dense"), hardware, longer).alternatives
    )


def test_a_gpu_slower_than_the_ram_is_left_out() -> None:
    choice = choose(offered("dense"), MACHINES["a GPU slower than the RAM"], Policy())
    assert choice.best.solution.placement.n_gpu_layers == 0
    assert "without the GPUs" in choice.reason


def test_a_wish_that_nothing_reaches_says_what_comes_nearest() -> None:
    choice = choose(offered("dense"), MACHINES["partly"], Policy(min_tok_s=5000))
    fastest = max(choice.alternatives, key=lambda option: option.tok_s)
    assert choice.unmet is not None
    assert f"{label(fastest.policy)} comes nearest with {fastest.tok_s:.3g}" in choice.unmet
    assert choose(offered("dense"), MACHINES["whole"], Policy(min_tok_s=20)).unmet is None


def test_a_reason_names_what_the_next_better_would_do() -> None:
    choice = _balanced_at_ten()
    assert choice.reason.startswith("Q4_K_M: the best quality that decodes at 10 tok/s or more")
    assert "; Q6_K would decode at " in choice.reason


def _balanced_at_ten() -> Choice:
    """The 8B on a CPU whose memory gives Q4_K_M more than 10 tok/s and Q6_K less."""
    models = [requantised(llama_3_8b(), quant) for quant in QUANTS]
    for bandwidth in range(40, 300, 10):
        choice = choose(models, slow_ram(bandwidth_gb_s=float(bandwidth)), Policy())
        if choice.best.model.quant == "Q4_K_M" and choice.best.tok_s >= 10:
            return choice
    raise AssertionError("no bandwidth makes Q4_K_M the best")


def test_nothing_that_fits_says_what_comes_nearest() -> None:
    choice = choose(offered("dense"), slow_ram(ram=GiB), Policy())
    assert not choice.best.fits
    assert choice.best.model.quant == "IQ2_XXS"
    assert choice.reason.startswith("Nothing on offer fits: IQ2_XXS")
    assert choice.alternatives == (choice.best,)


def test_unknown_quantisations_are_refused_with_what_is_on_offer() -> None:
    with pytest.raises(UsageError) as caught:
        choose(offered("dense"), MACHINES["whole"], Policy(quant="Q5_K_M"))
    assert caught.value.hint == f"On offer are {', '.join(QUANTS)}."
    with pytest.raises(UsageError):
        choose([], MACHINES["whole"], Policy())


def test_wishes_that_no_candidate_can_take_are_refused() -> None:
    with pytest.raises(UsageError, match="trained for a context"):
        choose(offered("dense"), MACHINES["whole"], Policy(n_ctx=65536))
    with pytest.raises(UsageError, match="no GPU"):
        choose(offered("dense"), MACHINES["no GPU"], Policy(n_gpu_layers=4))


def test_without_flash_attention_the_cache_stays_f16() -> None:
    for where in ("partly", "little RAM"):
        best = choose(offered("dense"), MACHINES[where], Policy(flash_attn="off")).best
        assert best.policy.type_v == "f16"


# The orders themselves


def merits(tok_s: float, kld: float, *, n_ctx: int = 8192) -> Merits:
    return Merits(fits=True, missing_bytes=0, kld=kld, tok_s=tok_s, n_ctx=n_ctx, wanted_n_ctx=8192)


def best_of(prefer: Preference, *them: Merits, min_tok_s: float | None = None) -> Merits:
    return max(them, key=lambda it: order(it, Policy(prefer=prefer, min_tok_s=min_tok_s)))


UNNOTICED, SMALL, LARGE = UNNOTICED_KLD / 2, 4 * UNNOTICED_KLD, 2 * LARGE_KLD


def test_balanced_takes_the_best_quality_that_is_usable() -> None:
    usable = merits(USABLE_TOK_S, SMALL)
    assert best_of("balanced", usable, merits(90, 2 * SMALL), merits(9.9, UNNOTICED)) == usable


def test_balanced_takes_the_faster_of_losses_too_small_to_notice() -> None:
    faster = merits(30, UNNOTICED)
    assert best_of("balanced", merits(20, UNNOTICED / 9), faster, merits(40, SMALL)) == faster


def test_balanced_takes_the_fastest_bearable_where_nothing_is_usable() -> None:
    faster = merits(8, SMALL)
    assert best_of("balanced", faster, merits(5, UNNOTICED), merits(9, LARGE)) == faster


def test_balanced_counts_a_wish_for_speed_as_what_is_usable() -> None:
    slow = merits(4, UNNOTICED)
    assert best_of("balanced", slow, merits(12, SMALL), min_tok_s=3) == slow


def test_a_hair_of_speed_does_not_buy_a_loss() -> None:
    exact = merits(100.0, UNNOTICED / 9)
    assert best_of("balanced", exact, merits(100.001, UNNOTICED)) == exact


def test_quality_takes_the_least_loss_that_runs_at_all() -> None:
    least = merits(1.1, UNNOTICED)
    assert best_of("quality", least, merits(80, SMALL), merits(0.9, 0.0)) == least


def test_speed_takes_the_fastest_whose_loss_is_not_large() -> None:
    fastest = merits(50, SMALL)
    assert best_of("speed", fastest, merits(40, UNNOTICED), merits(90, LARGE)) == fastest


def test_context_takes_the_longest_at_reading_speed() -> None:
    longest = merits(READING_TOK_S, SMALL, n_ctx=65536)
    shorter = merits(80, UNNOTICED, n_ctx=32768)
    too_slow = merits(READING_TOK_S - 1, UNNOTICED, n_ctx=131072)
    assert best_of("context", longest, shorter, too_slow) == longest


def test_what_meets_a_wish_comes_before_what_does_not() -> None:
    meets = merits(25, SMALL)
    for prefer in PREFERENCES:
        assert best_of(prefer, meets, merits(15, UNNOTICED, n_ctx=65536), min_tok_s=20) == meets


def test_what_fits_comes_before_what_does_not_and_then_what_lacks_least() -> None:
    lacks_less = merits(0, UNNOTICED)._replace(fits=False, missing_bytes=GiB)
    lacks_more = lacks_less._replace(missing_bytes=2 * GiB)
    slow = merits(0.01, LARGE)
    for prefer in PREFERENCES:
        assert best_of(prefer, lacks_more, lacks_less) == lacks_less
        assert best_of(prefer, lacks_less, slow) == slow


def _merits(option: Option) -> Merits:
    return merits(option.tok_s, option.loss.kld, n_ctx=option.n_ctx)


def test_what_fails_by_its_energy_is_named_with_joules() -> None:
    hardware = MACHINES["whole"]
    models = offered("dense")
    options = choose(models, hardware, Policy()).alternatives
    known = [o for o in options if o.power is not None]
    assert len(known) > 1
    least, most = sorted(o.power.j_per_token for o in known if o.power)[:2]
    reason = choose(models, hardware, Policy(max_j_per_token=(least + most) / 2)).reason
    assert "J per token" in reason
