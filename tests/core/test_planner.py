"""Properties that every plan must have, and the choices that a person would make by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from localllm.core.breakdown import MemoryModel
from localllm.core.change import with_one_more
from localllm.core.groups import device_groups
from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.placing import Problem
from localllm.core.plan import Plan
from localllm.core.planner import make_plan, one_step_further, solve
from localllm.core.policy import Policy
from localllm.core.requantise import requantised
from localllm.core.search import largest
from localllm.core.solution import Solution
from localllm.errors import UsageError
from localllm.units import GiB, MiB
from tests.support.specs import gpu, host, llama, llama_3_8b, llama_3_70b, machine, mixtral


@cache
def formulas_of_70b() -> MemoryModel:
    """The graphs of Llama 3 70B are laid out once for the searches of many tests."""
    return MemoryModel(llama_3_70b(), (), machine().host)


def gpu_rows_fit(plan: Plan) -> bool:
    return all((row.spare_bytes or 0) >= 0 for row in plan.devices)


def test_8b_lies_wholly_on_a_24_gb_card() -> None:
    plan = make_plan(llama_3_8b(), machine(gpu()), Policy())
    assert (plan.verdict, plan.n_gpu_layers, plan.n_layer_total) == ("fits", 33, 33)
    assert plan.device_names == ("CUDA0",)


def test_70b_on_a_24_gb_card_is_split_between_card_and_ram() -> None:
    """llama.cpp's own fit puts 43 layers on 23.6 GiB at 8k with one GiB of margin."""
    hardware = machine(gpu(free=int(23.6 * GiB)))
    plan = make_plan(llama_3_70b(), hardware, Policy(vram_headroom_bytes=574 * MiB))
    assert plan.verdict == "fits"
    assert 41 <= plan.n_gpu_layers <= 44


def test_without_a_gpu_everything_runs_on_the_cpu() -> None:
    plan = make_plan(llama_3_8b(), machine(), Policy())
    assert (plan.n_gpu_layers, plan.tensor_split, plan.device_names) == (0, (), ())
    assert plan.n_threads == 8
    assert "no GPU" in plan.reasons[0]


def test_a_model_larger_than_the_machine_does_not_fit_and_says_by_how_much() -> None:
    plan = make_plan(llama_3_70b(), machine(ram=16 * GiB), Policy())
    assert plan.verdict == "does-not-fit"
    assert plan.cliff is not None
    assert plan.cliff.device == "host"
    assert plan.cliff.bytes == plan.host.spare_bytes
    assert plan.cliff.bytes < 0
    assert any("RAM is short of" in reason for reason in plan.reasons)


def test_more_vram_never_means_fewer_layers() -> None:
    layers = [
        solve(formulas_of_70b(), machine(gpu(free=n * GiB)), Policy()).placement.n_gpu_layers
        for n in range(1, 50, 3)
    ]
    assert layers == sorted(layers)
    assert (layers[0], layers[-1]) == (0, 81)


def test_a_longer_context_never_means_more_layers() -> None:
    layers = [
        solve(formulas_of_70b(), machine(gpu()), Policy(n_ctx=n)).placement.n_gpu_layers
        for n in (1024, 4096, 16384, 65536, 131072)
    ]
    assert layers == sorted(layers, reverse=True)


@pytest.mark.parametrize("free_gib", [2, 5, 8, 16, 24, 41])
@pytest.mark.parametrize("n_ctx", [2048, 16384])
def test_one_layer_more_would_not_fit(free_gib: int, n_ctx: int) -> None:
    hardware = machine(gpu(free=free_gib * GiB))
    policy = Policy(n_ctx=n_ctx)
    found = solve(formulas_of_70b(), hardware, policy)
    assert all((row.spare_bytes or 0) >= 0 for row in found.rows)
    n_gpu_layers = found.placement.n_gpu_layers
    if n_gpu_layers < 81:
        wished = replace(policy, n_gpu_layers=n_gpu_layers + 1)
        assert solve(formulas_of_70b(), hardware, wished).verdict == "does-not-fit"


@pytest.mark.parametrize("free_gib", [5, 41])
def test_a_plan_is_what_the_search_found(free_gib: int) -> None:
    hardware = machine(gpu(free=free_gib * GiB))
    plan, found = (
        make_plan(llama_3_70b(), hardware, Policy()),
        solve(formulas_of_70b(), hardware, Policy()),
    )
    assert (plan.n_gpu_layers, plan.verdict) == (found.placement.n_gpu_layers, found.verdict)
    assert gpu_rows_fit(plan)


def test_the_smaller_of_two_groups_of_gpus_is_used() -> None:
    plan = make_plan(llama_3_8b(), machine(gpu("CUDA0"), gpu("CUDA1")), Policy())
    assert len(plan.device_names) == 1
    assert any("One more GPU is left free" in reason for reason in plan.reasons)


def test_the_faster_of_two_gpus_is_preferred() -> None:
    slow, fast = gpu("CUDA0", bandwidth_gb_s=360.0), gpu("CUDA1", bandwidth_gb_s=1008.0)
    plan = make_plan(llama_3_8b(), machine(slow, fast), Policy())
    assert plan.device_names == ("CUDA1",)


def test_two_equal_gpus_share_70b_in_halves() -> None:
    plan = make_plan(llama_3_70b(), machine(gpu("CUDA0"), gpu("CUDA1")), Policy())
    assert (plan.verdict, plan.n_gpu_layers) == ("fits", 81)
    assert sorted(plan.tensor_split) == [40.0, 41.0]


def test_two_unequal_gpus_are_filled_by_what_they_have() -> None:
    hardware = machine(gpu("CUDA0", free=40 * GiB), gpu("CUDA1", free=11 * GiB))
    plan = make_plan(llama_3_70b(), hardware, Policy())
    assert plan.n_gpu_layers == 81
    assert gpu_rows_fit(plan)
    assert plan.tensor_split[0] > 2 * plan.tensor_split[1]


def test_what_the_user_fixed_is_kept_even_when_it_does_not_fit() -> None:
    plan = make_plan(llama_3_70b(), machine(gpu(free=8 * GiB)), Policy(n_gpu_layers=60))
    assert (plan.n_gpu_layers, plan.verdict) == (60, "does-not-fit")
    assert any("left to the planner" in other.change for other in plan.counterfactuals)


def test_shares_given_by_the_user_are_kept() -> None:
    hardware = machine(gpu("CUDA0"), gpu("CUDA1"))
    plan = make_plan(llama_3_8b(), hardware, Policy(tensor_split=(3.0, 1.0)))
    assert plan.tensor_split == (25.0, 8.0)


def test_headroom_stays_free_on_every_gpu() -> None:
    for policy in (Policy(vram_headroom_bytes=2 * GiB), Policy(vram_headroom_fraction=0.1)):
        plan = make_plan(llama_3_70b(), machine(gpu()), policy)
        row = plan.devices[0]
        assert row.free_bytes is not None
        assert row.free_bytes - row.needed_bytes >= row.headroom_bytes >= 2 * GiB


def test_a_vram_budget_binds_like_a_smaller_card() -> None:
    budget = make_plan(llama_3_70b(), machine(gpu()), Policy(vram_budget_bytes=12 * GiB))
    smaller = make_plan(llama_3_70b(), machine(gpu(free=12 * GiB)), Policy())
    assert budget.n_gpu_layers == smaller.n_gpu_layers


def test_the_largest_context_costs_no_layer() -> None:
    hardware = machine(gpu(free=8 * GiB))
    plan = make_plan(llama_3_8b(), hardware, Policy(n_ctx="max"))
    assert (plan.n_gpu_layers, plan.n_ctx % 256) == (33, 0)
    further = make_plan(llama_3_8b(), hardware, Policy(n_ctx=plan.n_ctx + 256))
    assert further.n_gpu_layers < 33


def test_a_quantised_cache_is_offered_where_it_brings_layers() -> None:
    plan = make_plan(llama_3_70b(), machine(gpu()), Policy(n_ctx=32768))
    offered = [other for other in plan.counterfactuals if other.change.startswith("q8_0")]
    assert offered
    assert offered[0].n_gpu_layers > plan.n_gpu_layers


def test_a_plan_with_nothing_to_gain_offers_nothing() -> None:
    assert make_plan(llama_3_8b(), machine(gpu()), Policy()).counterfactuals == ()


def test_experts_asked_to_stay_in_ram_become_overrides() -> None:
    plan = make_plan(mixtral(), machine(gpu()), Policy(n_cpu_moe=3, n_gpu_layers=33))
    assert len(plan.tensor_overrides) == 1
    assert plan.tensor_overrides[0].pattern.startswith(r"blk\.(0|1|2)\.")
    assert " ".join(plan.llama_args).endswith("-ncmoe 3")


def test_the_plan_as_flags_of_llama_cpp() -> None:
    plan = make_plan(llama_3_8b(), machine(gpu()), Policy(n_ctx=4096, type_k="q8_0", type_v="q8_0"))
    args = " ".join(plan.llama_args)
    for flag in ("-c 4096", "-ngl 33", "-ctk q8_0 -ctv q8_0", "-dev CUDA0", "-ub 512", "-t 8"):
        assert flag in args


@pytest.mark.parametrize(
    "policy",
    [
        Policy(n_ctx=131073),
        Policy(n_ctx=0),
        Policy(type_k="q5_1"),
        Policy(type_v="q8_0", flash_attn="off"),
        Policy(tensor_split=(1.0,)),
        Policy(n_cpu_moe=4),
    ],
)
def test_an_impossible_wish_is_a_usage_error_with_a_hint(policy: Policy) -> None:
    with pytest.raises(UsageError) as caught:
        make_plan(llama_3_8b(), machine(gpu("CUDA0"), gpu("CUDA1")), policy)
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_gpu_layers_without_a_gpu_are_refused() -> None:
    with pytest.raises(UsageError, match="no GPU"):
        make_plan(llama_3_8b(), machine(), Policy(n_gpu_layers=10))


def test_integrated_graphics_are_left_out_beside_a_discrete_card() -> None:
    integrated = replace(gpu("Vulkan1", free=30 * GiB), kind="igpu", backend="vulkan")
    plan = make_plan(llama_3_8b(), machine(gpu(), integrated), Policy())
    assert plan.device_names == ("CUDA0",)
    alone = make_plan(llama_3_8b(), machine(integrated), Policy())
    assert alone.device_names == ("Vulkan1",)


def test_a_card_whose_memory_is_unknown_is_left_out_and_named() -> None:
    unknown = replace(
        gpu(), free_bytes=None, total_bytes=None, unknown={"total_bytes": "the GPU is lost"}
    )
    plan = make_plan(llama_3_8b(), machine(unknown), Policy())
    assert plan.n_gpu_layers == 0
    assert plan.reasons[0] == "CUDA0 is left out: the GPU is lost."


def test_a_shorter_context_is_offered_only_where_it_gains_over_a_longer_one() -> None:
    plan = make_plan(llama_3_70b(), machine(gpu()), Policy(n_ctx=32768))
    gains = [o.n_gpu_layers for o in plan.counterfactuals if o.change.startswith("context")]
    assert gains == sorted(set(gains))
    assert gains[0] > plan.n_gpu_layers


def test_a_plan_that_does_not_fit_is_offered_what_would() -> None:
    plan = make_plan(llama_3_8b(), machine(ram=8 * GiB), Policy(n_ctx=65536))
    assert plan.verdict == "does-not-fit"
    assert plan.counterfactuals
    assert all(other.verdict == "fits" for other in plan.counterfactuals)


def test_a_very_small_model_gets_one_thread_and_a_large_one_all_cores() -> None:
    small = replace(llama_3_8b(), file_bytes=3 * MiB)
    assert make_plan(small, machine(), Policy()).n_threads == 1
    assert make_plan(llama_3_8b(), machine(), Policy()).n_threads == 8
    assert make_plan(small, machine(), Policy(n_threads=4)).n_threads == 4


def test_equal_cards_are_tried_once_per_number_of_cards() -> None:
    equal = tuple(gpu(f"CUDA{i}") for i in range(8))
    groups = list(device_groups(equal, Policy()))
    assert [len(group) for group in groups] == [1, 2, 3, 4, 5, 6, 7, 8]
    unlike = (*equal[:2], gpu("CUDA2", free=11 * GiB))
    assert [len(group) for group in device_groups(unlike, Policy())] == [1, 1, 2, 2, 3]


def test_a_mixture_keeps_its_layers_on_the_card_and_some_experts_in_ram() -> None:
    plan = make_plan(mixtral(), machine(gpu(free=16 * GiB)), Policy())
    assert (plan.verdict, plan.n_gpu_layers) == ("fits", 33)
    assert len(plan.tensor_overrides) == 1
    assert any("experts of" in reason for reason in plan.reasons)


@pytest.mark.parametrize("free_gib", [4, 10, 16, 22])
def test_the_experts_of_one_layer_more_would_not_fit(free_gib: int) -> None:
    hardware = machine(gpu(free=free_gib * GiB))
    solution = solve(MemoryModel(mixtral(), (), hardware.host), hardware, Policy())
    n_outside = len(solution.placement.host_expert_layers)
    assert solution.gpus_fit
    assert n_outside
    problem = Problem(
        memory=MemoryModel(mixtral(), (), hardware.host), hardware=hardware, policy=Policy()
    )
    further = one_step_further(problem, solution)
    assert further is not None
    assert len(further.placement.host_expert_layers) == n_outside - 1
    assert not further.gpus_fit


def test_more_vram_never_means_more_experts_in_ram() -> None:
    outside = [
        len(
            solve(
                MemoryModel(mixtral(), (), host()), machine(gpu(free=n * GiB)), Policy()
            ).placement.host_expert_layers
        )
        for n in range(4, 40, 4)
    ]
    assert outside == sorted(outside, reverse=True)
    assert outside[-1] == 0


def test_a_mixture_whose_dense_part_is_too_large_leaves_layers_in_ram_too() -> None:
    plan = make_plan(mixtral(), machine(gpu(free=2 * GiB)), Policy())
    assert 0 < plan.n_gpu_layers < 33
    assert gpu_rows_fit(plan)
    first = 33 - plan.n_gpu_layers
    assert plan.tensor_overrides[0].pattern.startswith(rf"blk\.({first}|")


def test_two_cards_share_a_mixture_with_experts_in_ram() -> None:
    hardware = machine(gpu("CUDA0", free=12 * GiB), gpu("CUDA1", free=8 * GiB))
    plan = make_plan(mixtral(), hardware, Policy())
    assert (plan.verdict, plan.n_gpu_layers, sum(plan.tensor_split)) == ("fits", 33, 33.0)
    one_card = make_plan(mixtral(), machine(gpu(free=12 * GiB)), Policy())
    assert len(plan.tensor_overrides[0].pattern) < len(one_card.tensor_overrides[0].pattern)


def test_an_auto_cache_takes_the_best_type_that_brings_all_layers() -> None:
    auto = Policy(n_ctx=16384, type_k="auto", type_v="auto")
    roomy = make_plan(llama_3_70b(), machine(gpu(free=60 * GiB)), auto)
    assert (roomy.type_k, roomy.n_gpu_layers) == ("f16", 81)
    tight = make_plan(llama_3_70b(), machine(gpu(free=43 * GiB)), auto)
    assert (tight.type_k, tight.type_v, tight.n_gpu_layers) == ("q8_0", "q8_0", 81)


def test_an_auto_cache_stays_f16_where_v_must_not_be_quantised() -> None:
    auto = Policy(n_ctx=16384, type_k="f16", type_v="auto", flash_attn="off")
    assert make_plan(llama_3_70b(), machine(gpu(free=43 * GiB)), auto).type_v == "f16"


def test_weights_stay_as_they_are_where_rearranged_ones_do_not_fit() -> None:
    """A tied output matrix is copied when it is rearranged; as mapped it is not."""
    tied = llama(n_layer=16, n_embd=2048, n_ff=8192, tied=True, quant="Q4_K_M")
    plain = make_plan(tied, machine(), Policy(repack=False))
    packed = make_plan(tied, machine(), Policy(repack=True))
    assert packed.host.needed_bytes >= plain.host.needed_bytes
    ram = plain.host.needed_bytes + plain.host.headroom_bytes
    assert make_plan(tied, machine(ram=ram), Policy()).verdict == "fits"


def test_a_gpu_that_shares_the_ram_is_counted_with_it() -> None:
    unified = replace(gpu("CUDA0", free=60 * GiB), unified=True)
    fits = make_plan(llama_3_70b(), machine(unified, ram=60 * GiB), Policy())
    assert (fits.verdict, fits.n_gpu_layers, fits.use_mmap) == ("fits", 81, False)
    assert fits.host.shared_bytes == fits.devices[0].needed_bytes
    short = make_plan(llama_3_70b(), machine(unified, ram=40 * GiB), Policy())
    assert short.verdict == "does-not-fit"


def test_metal_computes_from_the_mapped_file() -> None:
    metal = replace(gpu("MTL0"), unified=True, backend="metal")
    assert make_plan(llama_3_8b(), machine(metal), Policy()).use_mmap


def test_one_more_card_is_offered_where_it_helps() -> None:
    plan = make_plan(llama_3_70b(), machine(gpu()), Policy())
    offered = [o for o in plan.counterfactuals if o.change.startswith("one more Test GPU")]
    assert [o.n_gpu_layers for o in offered] == [81]


def test_a_machine_with_one_more_card_is_another_machine() -> None:
    plan = make_plan(llama_3_70b(), machine(gpu()), Policy())
    (offered,) = [o for o in plan.counterfactuals if o.change.startswith("one more Test GPU")]
    larger = with_one_more(machine(gpu()))
    then = make_plan(llama_3_70b(), larger, offered.applied.of(Policy()))
    assert (then.n_gpu_layers, then.device_names) == (offered.n_gpu_layers, ("CUDA0", "CUDA1"))
    assert larger.source != machine().source
    with pytest.raises(UsageError, match="no GPU"):
        with_one_more(machine())


def test_an_impossible_context_is_answered_with_the_largest_possible() -> None:
    plan = make_plan(llama_3_8b(), machine(ram=8 * GiB), Policy(n_ctx=131072))
    assert plan.verdict == "does-not-fit"
    offered = [o.change for o in plan.counterfactuals if o.change.startswith("context")]
    assert offered
    n_ctx = int(offered[0].split(":")[0].removeprefix("context ").replace(",", ""))
    ram = machine(ram=8 * GiB)
    assert make_plan(llama_3_8b(), ram, Policy(n_ctx=n_ctx)).verdict == "fits"
    assert make_plan(llama_3_8b(), ram, Policy(n_ctx=n_ctx + 256)).verdict == "does-not-fit"


@pytest.mark.parametrize("near", [None, 0, 1, 36, 37, 38, 80, 99])
@pytest.mark.parametrize("border", [0, 1, 37, 80])
def test_the_search_finds_the_border_from_any_guess(near: int | None, border: int) -> None:
    whole = solve(MemoryModel(llama_3_8b(), (), host()), machine(), Policy())
    asked: list[int] = []

    def trial(n: int) -> Solution | None:
        asked.append(n)
        settings = replace(whole.settings, n_threads=n)
        return replace(whole, settings=settings) if n <= border else None

    found = largest(trial, low=1, high=80, near=near)
    assert (found.settings.n_threads if found else 0) == border
    assert len(asked) == len(set(asked))
    if near == border:
        assert len(asked) <= 2


def test_an_answer_given_as_a_start_is_found_again() -> None:
    hardware = machine(gpu("CUDA0"), gpu("CUDA1", free=11 * GiB))
    for model in (llama_3_70b(), mixtral()):
        for policy in (Policy(), Policy(n_ctx="max"), Policy(n_gpu_layers=20)):
            memory = MemoryModel(model, (), hardware.host)
            cold = solve(memory, hardware, policy)
            assert solve(memory, hardware, policy, near=cold) == cold


WISHES = [
    (llama_3_70b(), machine(gpu()), Policy(flash_attn="off")),
    (llama_3_70b(), machine(gpu(), gpu("CUDA1", free=11 * GiB)), Policy(n_gpu_layers=1)),
    (llama_3_70b(), machine(gpu(), gpu("CUDA1", free=11 * GiB)), Policy(n_gpu_layers=81)),
    (mixtral(), machine(gpu(free=8 * GiB)), Policy(n_ctx=16384)),
]


@pytest.mark.parametrize(("model", "hardware", "policy"), WISHES, ids=lambda case: str(case)[:20])
def test_a_counterfactual_promises_what_its_plan_then_holds(
    model: ModelSpec, hardware: Hardware, policy: Policy
) -> None:
    """Not a layer more, and not one less because of the buffers of the plan it changes."""
    plan = make_plan(model, hardware, policy)
    assert plan.counterfactuals
    for other in plan.counterfactuals:
        change = other.applied
        wishes = change.of(policy)
        quant = wishes.quant
        changed = model if quant is None else requantised(model, quant)
        then = make_plan(changed, change.on(hardware), wishes)
        assert (then.verdict, then.n_gpu_layers) == (other.verdict, other.n_gpu_layers), other


def test_without_counterfactuals_the_plan_is_the_same() -> None:
    wishes = Policy(n_ctx=16384)
    with_them = make_plan(llama_3_70b(), machine(gpu()), wishes)
    without = make_plan(llama_3_70b(), machine(gpu()), wishes, with_counterfactuals=False)
    assert with_them.counterfactuals
    assert without == replace(with_them, counterfactuals=())


def test_what_does_not_fit_at_all_is_offered_a_quantisation_that_does() -> None:
    plan = make_plan(llama_3_70b(), machine(gpu(), ram=8 * GiB), Policy())
    assert plan.verdict == "does-not-fit"
    assert any(other.change.startswith(("Q", "IQ")) for other in plan.counterfactuals)


def test_what_does_not_fit_is_offered_the_first_quantisation_that_really_does() -> None:
    """The first guess by size alone may be too large still; then the next one is planned."""
    for ram in range(8, 30, 3):
        plan = make_plan(llama_3_70b(), machine(ram=ram * GiB), Policy(n_ctx=2048))
        quants = [o for o in plan.counterfactuals if o.change.startswith(("Q", "IQ"))]
        assert len(quants) == (1 if ram >= 20 else 0)


def test_limits_that_leave_nothing_are_named_and_lifting_them_is_offered() -> None:
    headroom = Policy(vram_headroom_bytes=50 * GiB)
    for policy, change in (
        (Policy(vram_budget_bytes=MiB), "no limit on the GPUs' memory: all 33 layers fit"),
        (headroom, "no headroom on the GPUs: all 33 layers fit"),
    ):
        plan = make_plan(llama_3_8b(), machine(gpu()), policy)
        assert "headroom and limits leave nothing" in plan.reasons[0]
        assert plan.speed is not None
        (other,) = [o for o in plan.counterfactuals if o.change.startswith(change)]
        assert other.tg_tok_s is not None
        assert other.change == f"{change}, {other.tg_tok_s / plan.speed.tg_tok_s:.1f}x"


def test_one_more_card_is_not_offered_where_the_gpu_is_part_of_the_machine() -> None:
    unified = replace(gpu(free=20 * GiB), unified=True)
    plan = make_plan(llama_3_70b(), machine(unified, ram=64 * GiB), Policy())
    assert plan.n_gpu_layers < 81
    assert not any(other.change.startswith("one more") for other in plan.counterfactuals)


def test_a_card_without_layers_is_not_said_to_hold_them() -> None:
    cards = machine(gpu(), gpu("CUDA1"))
    plan = make_plan(llama_3_8b(), cards, Policy(tensor_split=(1.0, 0.0)))
    assert plan.reasons[0] == "All 33 layers lie on CUDA0."


@pytest.mark.parametrize(
    ("policy", "consequence"),
    [
        (Policy(), "the model no longer fits in RAM"),
        (Policy(n_ctx="max"), "the context gets shorter"),
        (Policy(type_k="auto", type_v="auto"), "the KV cache becomes coarser"),
    ],
)
def test_the_cliff_of_ram_names_what_would_give_way(policy: Policy, consequence: str) -> None:
    plan = make_plan(llama_3_8b(), machine(ram=24 * GiB), policy)
    assert plan.cliff is not None
    assert plan.cliff.consequence == f"if others take more than this, {consequence}"
    worse = make_plan(llama_3_8b(), machine(ram=24 * GiB - plan.cliff.bytes - MiB), policy)
    kept = ("fits", plan.n_ctx, plan.type_k)
    assert (worse.verdict, worse.n_ctx, worse.type_k) != kept


def test_a_change_that_moves_the_context_too_says_so() -> None:
    plan = make_plan(llama_3_70b(), machine(gpu()), Policy(n_ctx="max"))
    cache = next(o.change for o in plan.counterfactuals if o.change.startswith("q8_0"))
    then = make_plan(
        llama_3_70b(), machine(gpu()), Policy(n_ctx="max", type_k="q8_0", type_v="q8_0")
    )
    assert then.n_ctx == plan.n_ctx or cache.endswith(f"at context {then.n_ctx:,}")


@pytest.mark.parametrize(
    ("policy", "n_cards", "consequence"),
    [
        (Policy(), 1, "a layer falls back to RAM"),
        (Policy(n_gpu_layers=33), 1, "the plan no longer fits"),
        (Policy(n_ctx="max"), 1, "the context gets shorter"),
        (Policy(type_k="auto", type_v="auto"), 1, "the KV cache becomes coarser"),
        (Policy(), 2, "layers move to another GPU, or a layer falls back to RAM"),
    ],
)
def test_the_cliff_names_what_would_give_way(
    policy: Policy, n_cards: int, consequence: str
) -> None:
    cards = tuple(gpu(f"CUDA{i}") for i in range(n_cards))
    plan = make_plan(llama_3_8b(), machine(*cards), policy)
    assert plan.cliff is not None
    assert plan.cliff.consequence == f"if others take more than this, {consequence}"
    tight = replace(cards[0], free_bytes=(cards[0].free_bytes or 0) - plan.cliff.bytes - 2 * MiB)
    worse = make_plan(llama_3_8b(), machine(tight), policy)
    kept = ("fits", plan.n_gpu_layers, plan.n_ctx, plan.type_k)
    assert (worse.verdict, worse.n_gpu_layers, worse.n_ctx, worse.type_k) != kept


def test_the_cliff_of_a_mixture_is_its_experts() -> None:
    plan = make_plan(mixtral(), machine(gpu(free=40 * GiB)), Policy())
    assert (plan.n_gpu_layers, plan.tensor_overrides) == (33, ())
    assert plan.cliff is not None
    assert plan.cliff.consequence.endswith("the experts of a layer fall back to RAM")


def test_flags_say_what_llama_cpp_would_do_otherwise_by_itself() -> None:
    """Its server makes room for four conversations; a GPU without layers would still compute."""
    args = " ".join(make_plan(llama_3_8b(), machine(gpu()), Policy(n_gpu_layers=0)).llama_args)
    assert "-np 1 -dev none" in args
    assert "-lm" not in args
    unified = replace(gpu(), unified=True)
    assert make_plan(llama_3_8b(), machine(unified), Policy()).llama_args[-2:] == ("-lm", "none")
    mapped = make_plan(llama_3_8b(), machine(unified), Policy(use_mmap=True))
    assert mapped.llama_args[-2:] == ("-lm", "mmap")


def test_what_llama_cpp_rounds_or_cuts_is_said() -> None:
    plan = make_plan(llama_3_8b(), machine(gpu()), Policy(n_ctx=1, n_ubatch=4096))
    assert (plan.n_ctx, plan.n_ubatch) == (256, 256)
    assert any(reason.startswith("Context 256 for 1:") for reason in plan.reasons)
    assert any(reason.startswith("A ubatch of 256, not 4,096:") for reason in plan.reasons)


@pytest.mark.parametrize("policy", [Policy(n_gpu_layers=9999), Policy(tensor_split=(1.0, 1.0))])
def test_layers_on_gpus_that_a_named_machine_lacks_are_refused(policy: Policy) -> None:
    elsewhere = replace(machine(), name="desktop-ddr5", source="profile desktop-ddr5")
    with pytest.raises(UsageError, match="no GPU on desktop-ddr5") as caught:
        make_plan(llama_3_8b(), elsewhere, policy)
    assert "doctor" not in (caught.value.hint or "")


@pytest.mark.parametrize("policy", [Policy(n_ctx="max"), Policy(type_k="auto", type_v="auto")])
def test_what_has_no_kv_cache_cannot_give_any_of_it_way(policy: Policy) -> None:
    attention = llama_3_8b()
    layers = tuple(replace(layer, has_kv=False) for layer in attention.layers)
    plan = make_plan(replace(attention, layers=layers), machine(gpu()), policy)
    assert plan.cliff is not None
    assert plan.cliff.consequence.endswith("a layer falls back to RAM")


def test_weights_in_ram_are_streamed_in_larger_ubatches_that_cost_no_layer() -> None:
    hardware = machine(gpu(free=20 * GiB))
    plan = make_plan(mixtral(), hardware, Policy())
    usual = make_plan(mixtral(), hardware, Policy(n_ubatch=512))
    assert plan.n_ubatch > usual.n_ubatch == 512
    assert plan.tensor_overrides == usual.tensor_overrides
    assert plan.speed is not None and usual.speed is not None
    assert plan.speed.pp_tok_s and usual.speed.pp_tok_s
    assert plan.speed.pp_tok_s > 1.1 * usual.speed.pp_tok_s
    assert any(f"ubatches of {plan.n_ubatch:,}" in reason for reason in plan.reasons)
    assert make_plan(mixtral(), machine(), Policy()).n_ubatch == 512


def test_a_ubatch_that_costs_a_layer_is_offered_with_what_it_takes_from_decode() -> None:
    plan = make_plan(llama_3_70b(), machine(gpu()), Policy())
    assert plan.n_ubatch == 512
    (offer,) = [o for o in plan.counterfactuals if o.change.startswith("--ubatch 2048")]
    assert offer.n_gpu_layers < plan.n_gpu_layers
    assert plan.speed is not None and offer.tg_tok_s is not None
    assert 0.85 * plan.speed.tg_tok_s < offer.tg_tok_s < plan.speed.tg_tok_s


def test_the_speed_is_estimated_at_the_depth_asked_for() -> None:
    shallow = make_plan(llama_3_8b(), machine(gpu()), Policy())
    deep = make_plan(llama_3_8b(), machine(gpu()), Policy(depth=8000))
    assert shallow.speed is not None and deep.speed is not None
    assert (shallow.speed.at_depth, deep.speed.at_depth) == (0, 8000)
    assert deep.speed.tg_tok_s < shallow.speed.tg_tok_s


def test_a_depth_beyond_the_context_is_refused() -> None:
    with pytest.raises(UsageError, match="leaves no room"):
        make_plan(llama_3_8b(), machine(gpu()), Policy(n_ctx=4096, depth=4096))
    deepest = make_plan(llama_3_8b(), machine(gpu()), Policy(n_ctx=4096, depth=4095))
    assert deepest.speed is not None


def test_more_threads_than_cpus_are_kept_and_said() -> None:
    plan = make_plan(llama_3_8b(), machine(), Policy(n_threads=100))
    assert plan.n_threads == 100
    assert any(reason.startswith("100 threads on 16 logical CPUs") for reason in plan.reasons)


def test_of_unlike_cards_a_faster_one_takes_most_layers() -> None:
    slow, fast = gpu(free=24 * GiB, bandwidth_gb_s=346.0), gpu("CUDA1", free=4 * GiB)
    plan = make_plan(llama_3_8b(), machine(slow, fast), Policy())
    alone = make_plan(llama_3_8b(), machine(slow), Policy())
    assert plan.n_gpu_layers == alone.n_gpu_layers == plan.n_layer_total
    assert plan.device_names == ("CUDA0", "CUDA1")
    assert plan.speed is not None and alone.speed is not None
    assert plan.speed.tg_tok_s > 1.2 * alone.speed.tg_tok_s
    row = next(row for row in plan.devices if row.name == "CUDA1")
    assert row.n_layers > 15
    equal = make_plan(llama_3_8b(), machine(gpu(), gpu("CUDA1", free=22 * GiB)), Policy())
    assert len(equal.device_names) == 1


def test_a_gpu_slower_than_the_processors_memory_is_left_out() -> None:
    server = replace(machine(gpu(bandwidth_gb_s=60.0)), host=replace(host(), n_cores_physical=64))
    server = replace(server, host=replace(server.host, memory_bandwidth_gb_s=460.0))
    plan = make_plan(llama_3_8b(), server, Policy(n_threads=64))
    assert plan.n_gpu_layers == 0
    assert "decodes faster than the GPU would" in plan.reasons[0]
    asked = make_plan(llama_3_8b(), server, Policy(n_threads=64, n_gpu_layers=33))
    assert asked.n_gpu_layers == 33
    assert plan.speed is not None and asked.speed is not None
    assert plan.speed.tg_tok_s > asked.speed.tg_tok_s
