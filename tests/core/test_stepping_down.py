"""What memory that ran out says of a plan, and what plan comes after it: values alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm.core.generation import Died, Failed
from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.model import ModelSpec
from localllm.core.plan import Plan
from localllm.core.plan_changes import changes
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.core.prediction import run_of_plan
from localllm.core.shortage import Occasion, Shortage, lacking_bytes, shortage_of
from localllm.core.shortfall import (
    Shortfall,
    is_disproved,
    shortfalls_between,
    with_shortfalls,
)
from localllm.core.shrunk import lost_memory, lost_sentence, short_of
from localllm.core.stepping_down import (
    is_less,
    open_kv_types,
    smaller_policies,
    step_sentence,
    with_more_headroom,
)
from localllm.units import GiB, MiB
from tests.support.specs import gpu, llama_3_8b, machine, mixtral

ONE, TWO = machine(gpu()), machine(gpu("CUDA0"), gpu("CUDA1"))
SPLIT = Policy(n_ctx=4096, tensor_split=(1.0, 1.0))


def plan_of(hardware: Hardware = ONE, policy: Policy | None = None, **wishes: Any) -> Plan:
    return make_plan(llama_3_8b(), hardware, policy or Policy(n_ctx=4096, **wishes))


def refused(text: str) -> Failed:
    """As ``engine.checks.refusal`` words it."""
    message = f"llama.cpp {text}."
    return Failed(error="EngineError", message=message, hint="", code="out_of_memory")


def dead(*stderr: str, signal: str | None = "SIGABRT", oom: bool = True) -> Died:
    return Died(
        message="The engine crashed.",
        hint="",
        phase="load",
        signal=signal,
        out_of_memory=oom,
        stderr_tail=stderr,
    )


# -- where it ran out --------------------------------------------------------------------------

SAID: list[tuple[Failed | Died, tuple[str, ...], int | None]] = [
    (
        refused(
            "could not load the model: not enough memory (allocating 263.00 MiB on device 1: "
            "cudaMalloc failed: out of memory)"
        ),
        ("CUDA1",),
        263 * MiB,
    ),
    (
        refused(
            "could not make a context of 4,096 tokens: not enough memory (failed to allocate CUDA0 "
            "buffer of size 263192576)"
        ),
        ("CUDA0",),
        263192576,
    ),
    (refused("could not load the model: unable to allocate CUDA1 buffer"), ("CUDA1",), None),
    (refused("could not load: failed to allocate CUDA_Host buffer of size 9"), ("host",), 9),
    (refused("could not load: failed to allocate CPU_REPACK buffer of size 9"), ("host",), 9),
    (refused("could not load: failed to allocate buffer of size 77"), ("host",), 77),
    (refused("could not load: out of memory"), ("CUDA0", "CUDA1"), None),
    (
        dead("CUDA error: out of memory", "  current device: 1, in function alloc at x.cu:443"),
        ("CUDA1",),
        None,
    ),
    (
        dead("ggml_vulkan: Device memory allocation of size 1048576 failed.", "ErrorOutOfDevice"),
        ("CUDA0", "CUDA1"),
        MiB,
    ),
    (dead("terminate called after throwing an instance of 'std::bad_alloc'"), ("host",), None),
    (dead("failed to allocate CUDA0 buffer of size 9", signal="SIGKILL"), ("host",), None),
]


@pytest.mark.parametrize(("failure", "places", "n_bytes"), SAID, ids=lambda case: str(case)[-40:])
def test_the_engine_s_words_name_the_place(
    failure: Failed | Died, places: tuple[str, ...], n_bytes: int | None
) -> None:
    shortage = shortage_of(plan_of(TWO, SPLIT), failure, "load")
    assert shortage is not None
    assert (shortage.places, shortage.buffer_bytes) == (places, n_bytes)


def test_without_gpus_it_was_the_ram() -> None:
    shortage = shortage_of(plan_of(machine()), refused("could not load: out of memory"), "load")
    assert shortage is not None and shortage.on_host


def test_what_is_no_lack_of_memory_is_none() -> None:
    other = Failed(error="EngineError", message="out of memory", code="cancelled")
    assert shortage_of(plan_of(), other, "load") is None
    assert shortage_of(plan_of(), dead("out of memory", oom=False), "load") is None


def test_what_would_have_come_after_the_buffer_is_missing_too() -> None:
    """Weights come first, then the cache, then compute buffers; of the buffer itself a part."""
    row = plan_of().devices[0]
    step = max(row.needed_bytes // 20, 512 * MiB)
    for size, rest in (
        (row.model_bytes, row.context_bytes + row.compute_bytes),
        (row.context_bytes, row.compute_bytes),
        (row.compute_bytes, 0),
        (None, 0),
    ):
        shortage = Shortage(occasion="load", places=("CUDA0",), buffer_bytes=size)
        assert lacking_bytes(row, shortage, attempt=1) == rest + step
        assert lacking_bytes(row, shortage, attempt=2) == rest + 2 * step
    running = Shortage(occasion="answer", places=("CUDA0",), buffer_bytes=row.model_bytes)
    assert lacking_bytes(row, running, attempt=1) == step


# -- what comes after --------------------------------------------------------------------------


def steps(
    model: ModelSpec, plan: Plan, policy: Policy, place: str, *, attempt: int = 1
) -> Iterator[Plan]:
    shortage = Shortage(occasion="load", places=(place,))
    for other in smaller_policies(
        policy,
        plan,
        shortage,
        attempt=attempt,
        hardware=plan.hardware,
        may_fall=open_kv_types(policy, policy),
    ):
        yield make_plan(model, plan.hardware, other)


@settings(max_examples=5, deadline=None)
@given(
    free_gib=st.floats(2, 30),
    attempt=st.sampled_from((1, 2)),
    mixture=st.booleans(),
    kv=st.sampled_from((None, "q8_0")),
)
def test_a_step_is_always_a_smaller_plan_with_the_same_context(
    free_gib: float, attempt: int, mixture: bool, kv: str | None
) -> None:
    model = mixtral() if mixture else llama_3_8b()
    policy = Policy(n_ctx=4096, n_ubatch=512, type_k=kv, type_v=kv)
    plan = make_plan(model, machine(gpu(free=int(free_gib * GiB))), policy)
    if not plan.n_gpu_layers or plan.verdict != "fits":
        return
    for other in steps(model, plan, policy, "CUDA0", attempt=attempt):
        assert is_less(plan, other, ("CUDA0",))
        assert (other.n_ctx, other.n_ubatch) == (plan.n_ctx, plan.n_ubatch)
        assert (other.type_k, other.type_v) == (plan.type_k, plan.type_v)
        assert changes(plan, other)


def test_layers_leave_first_and_the_cache_type_only_where_it_was_open() -> None:
    def types(policy: Policy, attempt: int) -> list[str]:
        plan = plan_of(ONE, policy)
        return [p.type_k for p in steps(llama_3_8b(), plan, policy, "CUDA0", attempt=attempt)]

    auto = Policy(n_ctx=4096, type_k="auto", type_v="auto")
    assert (types(auto, 1), types(auto, 2)) == (["f16", "q8_0"], ["q8_0", "f16"])
    fixed = replace(auto, type_k="f16", type_v="f16")
    assert (types(fixed, 1), types(fixed, 2)) == (["f16"], ["f16"])


def test_a_type_that_a_choice_filled_in_may_fall_and_a_stated_one_not() -> None:
    chosen = Policy(type_k="q8_0", type_v="q8_0")
    assert open_kv_types(chosen, Policy()) == (True, True)
    assert open_kv_types(chosen, Policy(type_v="q8_0")) == (True, False)
    assert open_kv_types(chosen, chosen) == (False, False)
    assert open_kv_types(Policy(), Policy()) == (False, False)  # f16, as llama.cpp's own


def test_only_the_card_that_ran_out_is_relieved() -> None:
    cards = machine(gpu("CUDA0", free=4 * GiB), gpu("CUDA1", free=4 * GiB))
    policy = Policy(n_ctx=4096)
    plan = plan_of(cards, policy)
    (other,) = steps(llama_3_8b(), plan, policy, "CUDA1")
    before, after = ({r.name: r.needed_bytes for r in p.devices} for p in (plan, other))
    assert after["CUDA1"] < before["CUDA1"] and after["CUDA0"] >= before["CUDA0"]
    shortage = Shortage(occasion="load", places=("CUDA1",))
    relieved = with_more_headroom(policy, plan, shortage, attempt=1, hardware=cards)
    assert [name for name, _ in relieved.headroom_by_device] == ["CUDA1"]


def test_layers_that_the_person_fixed_are_kept_and_then_do_not_fit() -> None:
    policy = Policy(n_ctx=4096, n_gpu_layers=33)
    (other,) = steps(llama_3_8b(), plan_of(ONE, policy), policy, "CUDA0")
    assert (other.n_gpu_layers, other.verdict) == (33, "does-not-fit")


@pytest.mark.parametrize(
    ("policy", "then"),
    [
        (Policy(), [(False, True)]),
        (Policy(repack=True), []),
        (Policy(repack=False), []),
        (Policy(repack=False, type_k="auto", type_v="auto"), [(False, True)]),
    ],
    ids=["open", "rearranged as asked", "plain as asked", "coarser cache"],
)
def test_in_ram_the_weights_stay_in_the_file(policy: Policy, then: list[tuple[bool, bool]]) -> None:
    plan = plan_of(machine(), policy)
    others = list(steps(llama_3_8b(), plan, policy, "host"))
    assert [(other.repack, other.use_mmap) for other in others] == then
    assert all(is_less(plan, other, ("host",)) for other in others)


def test_a_file_that_was_read_is_mapped() -> None:
    chip = replace(gpu(), unified=True, kind="igpu")
    policy = Policy(n_ctx=4096, n_gpu_layers=0)
    plan = plan_of(machine(chip), policy)
    assert not plan.use_mmap
    plain, mapped = steps(llama_3_8b(), plan, policy, "host")
    assert (plain.use_mmap, is_less(plan, plain, ("host",))) == (False, False)
    assert (mapped.use_mmap, is_less(plan, mapped, ("host",))) == (True, True)


# -- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("occasion", "begins"),
    [
        ("load", "The memory of CUDA0 ran out while loading (no room for 251.0 MiB more). Now: "),
        ("bench", "The memory of CUDA0 ran out during the benchmark (no room for 251.0 MiB"),
    ],
)
def test_a_step_is_told_with_what_it_costs(occasion: Occasion, begins: str) -> None:
    before, after = plan_of(), plan_of(n_gpu_layers=30)
    shortage = Shortage(occasion=occasion, places=("CUDA0",), buffer_bytes=251 * MiB)
    told = step_sentence(shortage, before, after)
    assert told.startswith(begins)
    assert told.endswith("Now: 3 layers fewer on CUDA0, 30 of 33.")


def test_every_change_has_words() -> None:
    before = plan_of(n_ubatch=1024)
    said = changes(before, replace(before, type_k="q8_0", type_v="q8_0", n_ctx=2048, n_ubatch=512))
    assert said == (
        "a KV cache in q8_0 instead of f16; a context of 2,048 tokens instead of 4,096; "
        "ubatches of 512 tokens instead of 1,024"
    )
    assert changes(before, plan_of(n_gpu_layers=0)).startswith("all 33 layers run on the CPU")
    experts = [
        make_plan(mixtral(), machine(gpu(free=n * GiB)), Policy(n_ctx=4096)) for n in (24, 20)
    ]
    n = [len(run_of_plan(plan).placement.host_expert_layers) for plan in experts]
    assert f"the experts of {n[1] - n[0]} more layers in RAM, {n[1]} of 32" in changes(*experts)
    one, other = plan_of(TWO, SPLIT), plan_of(TWO, replace(SPLIT, tensor_split=(2.0, 1.0)))
    assert changes(one, other) == "the layers divided anew, 22 on CUDA0, 11 on CUDA1"


# -- memory that is gone -----------------------------------------------------------------------


def test_half_the_headroom_may_go_before_another_plan_is_made() -> None:
    """23 GiB free, of which 512 MiB are headroom."""
    plan, policy = plan_of(), Policy(n_ctx=4096)
    row = plan.devices[0]
    enough = row.needed_bytes + row.headroom_bytes // 2
    assert lost_memory(plan, machine(gpu(free=enough)), policy) == ()
    (lost,) = lost_memory(plan, machine(gpu(free=enough - 1)), policy)
    assert (lost.place, lost.n_bytes) == ("CUDA0", 23 * GiB - enough + 1)
    named = replace(lost, n_bytes=3 * GiB, holders="python (pid 7) 3.00 GiB")
    assert lost_sentence((named,)) == (
        "CUDA0 has 3.00 GiB less free (held by python (pid 7) 3.00 GiB) than when the plan was made"
    )


def test_a_budget_that_was_smaller_all_along_is_no_loss() -> None:
    policy = Policy(n_ctx=4096, vram_budget_bytes=8 * GiB, ram_budget_bytes=8 * GiB)
    plan = plan_of(ONE, policy)
    assert lost_memory(plan, machine(gpu(free=9 * GiB), ram=9 * GiB), policy) == ()


def test_ram_that_is_gone_is_seen() -> None:
    plan = plan_of(machine())
    (lost,) = lost_memory(plan, machine(ram=2 * GiB), Policy(n_ctx=4096))
    assert (lost.place, lost.n_bytes) == ("host", 58 * GiB)
    assert short_of(plan_of(machine(ram=2 * GiB))).endswith(" in RAM")


# -- what is remembered ------------------------------------------------------------------------

HERE = replace(machine(gpu(free=5 * GiB)), source=THIS_MACHINE)


def learnt() -> tuple[Shortfall, Plan]:
    """What a load on a card of 5 GiB taught, and the plan that held."""
    policy = Policy(n_ctx=4096)
    plan = plan_of(HERE, policy)
    shortage = Shortage(occasion="load", places=("CUDA0",))
    smaller = with_more_headroom(policy, plan, shortage, attempt=1, hardware=HERE)
    (found,) = shortfalls_between(plan, policy, smaller, time="2026-11-20T10:00:00+00:00")
    return found, plan_of(HERE, smaller)


def test_the_next_plan_begins_with_what_held_and_says_so() -> None:
    found, held = learnt()
    policy, reasons = with_shortfalls(Policy(n_ctx=4096), [found])
    assert plan_of(HERE, policy).devices == held.devices
    assert len(reasons) == 1
    assert reasons[0].endswith(
        " more is left free on CUDA0: a load ran out of memory there on 2026-11-20."
    )
    assert with_shortfalls(policy, [found]) == (policy, ())


def test_a_card_that_was_far_from_full_is_not_blamed_for_a_month() -> None:
    """Of 23 GiB the plan takes 6: whatever took the rest will be gone."""
    policy = Policy(n_ctx=4096)
    plan = plan_of(ONE, policy)
    shortage = Shortage(occasion="load", places=("CUDA0",))
    smaller = with_more_headroom(policy, plan, shortage, attempt=1, hardware=ONE)
    assert shortfalls_between(plan, policy, smaller, time="2026-11-20T10:00:00+00:00") == ()


def test_layers_that_the_person_asks_for_are_tried_again() -> None:
    found, _ = learnt()
    asked = Policy(n_ctx=4096, n_gpu_layers=33)
    assert with_shortfalls(asked, [found]) == (asked, ())


def test_a_load_that_held_with_less_left_free_disproves_it() -> None:
    found, held = learnt()
    usual = Policy(n_ctx=4096)
    careful, _ = with_shortfalls(usual, [found])
    assert not is_disproved(found, held, careful)
    assert is_disproved(found, plan_of(HERE), usual)
    assert not is_disproved(found, plan_of(HERE, n_gpu_layers=5), usual)
    other_card = replace(HERE, devices=(replace(gpu(), description="Another card"),))
    assert not is_disproved(found, plan_of(other_card), usual)


def test_what_ram_taught_can_be_asked_for_again() -> None:
    before, after = Policy(n_ctx=4096), Policy(n_ctx=4096, repack=False)
    (found,) = shortfalls_between(plan_of(machine()), before, after, time="2026-11-20T10:00+00:00")
    policy, (reason,) = with_shortfalls(before, [found])
    assert policy == after and "--repack tries it again" in reason
    assert with_shortfalls(replace(before, repack=True), [found])[1] == ()
    assert is_disproved(found, plan_of(machine(), before), before)
    assert not is_disproved(found, plan_of(machine(), after), after)
