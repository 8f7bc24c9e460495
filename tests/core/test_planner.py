"""Properties that every plan must have, and the choices that a person would make by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.plan import Plan
from localllm.core.planner import _device_groups, make_plan
from localllm.core.policy import Policy
from localllm.errors import UsageError
from localllm.units import GiB, MiB
from tests.support.specs import gpu, llama_3_8b, llama_3_70b, machine, mixtral


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
        make_plan(llama_3_70b(), machine(gpu(free=n * GiB)), Policy()).n_gpu_layers
        for n in range(1, 50, 3)
    ]
    assert layers == sorted(layers)
    assert (layers[0], layers[-1]) == (0, 81)


def test_a_longer_context_never_means_more_layers() -> None:
    layers = [
        make_plan(llama_3_70b(), machine(gpu()), Policy(n_ctx=n)).n_gpu_layers
        for n in (1024, 4096, 16384, 65536, 131072)
    ]
    assert layers == sorted(layers, reverse=True)


@pytest.mark.parametrize("free_gib", [2, 5, 8, 16, 24, 41])
@pytest.mark.parametrize("n_ctx", [2048, 16384])
def test_one_layer_more_would_not_fit(free_gib: int, n_ctx: int) -> None:
    hardware = machine(gpu(free=free_gib * GiB))
    policy = Policy(n_ctx=n_ctx)
    plan = make_plan(llama_3_70b(), hardware, policy)
    assert gpu_rows_fit(plan)
    one_more = make_plan(
        llama_3_70b(), hardware, replace(policy, n_gpu_layers=plan.n_gpu_layers + 1)
    )
    assert plan.n_gpu_layers == 81 or one_more.verdict == "does-not-fit"


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
    assert "-ot" in plan.llama_args


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
    groups = list(_device_groups(equal, Policy()))
    assert [len(group) for group in groups] == [1, 2, 3, 4, 5, 6, 7, 8]
    unlike = (*equal[:2], gpu("CUDA2", free=11 * GiB))
    assert [len(group) for group in _device_groups(unlike, Policy())] == [1, 1, 2, 2, 3]
