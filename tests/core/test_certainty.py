"""When a plan by formulas may be loaded without asking llama.cpp's allocator first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.certainty import WIDE_BYTES, WIDE_SHARE, certain_to_fit
from localllm.core.hardware import Hardware
from localllm.core.memory import GPU_OVERHEAD
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.units import GiB
from tests.support.specs import gpu, llama_3_8b, machine, mixtral

ROOMY = machine(gpu(free=24 * GiB))
CPU = machine()


def certain(hardware: Hardware, policy: Policy | None = None) -> bool:
    policy = policy or Policy()
    return certain_to_fit(make_plan(llama_3_8b(), hardware, policy), policy)


def test_with_room_everywhere_and_nothing_to_choose_it_is_certain() -> None:
    assert certain(CPU)
    assert certain(ROOMY)
    assert certain(ROOMY, Policy(n_ctx=32768, type_k="q8_0", type_v="q8_0"))


@pytest.mark.parametrize(
    ("hardware", "policy"),
    [
        (machine(gpu(free=4 * GiB)), Policy()),  # some layers
        (machine(gpu(free=GiB // 4)), Policy()),  # none, for want of room
        (machine(gpu("CUDA0", free=16 * GiB), gpu("CUDA1", free=16 * GiB)), Policy(n_ctx=81920)),
        (ROOMY, Policy(n_gpu_layers=16)),
        (ROOMY, Policy(n_ctx="max")),
        (ROOMY, Policy(type_k="auto", type_v="auto")),
    ],
    ids=["partial", "no-room", "two-cards", "fixed-layers", "longest-context", "cache-type"],
)
def test_where_memory_chose_anything_the_allocator_is_asked(
    hardware: Hardware, policy: Policy
) -> None:
    assert not certain(hardware, policy)


def test_the_margin_is_wide_or_it_is_not_certain() -> None:
    plan = make_plan(llama_3_8b(), CPU, Policy())
    row = plan.host
    wide = max(WIDE_BYTES, WIDE_SHARE * row.needed_bytes)

    def with_spare(spare: float) -> bool:
        free = row.needed_bytes + row.headroom_bytes + int(spare)
        return certain_to_fit(replace(plan, devices=(replace(row, free_bytes=free),)), Policy())

    assert with_spare(wide)
    assert not with_spare(wide - 1)
    unknown = replace(plan, devices=(replace(row, free_bytes=None),))
    assert not certain_to_fit(unknown, Policy())


def test_weights_left_as_they_are_for_want_of_ram_are_a_choice() -> None:
    plan = make_plan(llama_3_8b(), CPU, Policy(repack=False))
    assert certain_to_fit(plan, Policy(repack=False))
    assert not certain_to_fit(plan, Policy())


def test_an_upper_estimate_and_another_basis_are_not_certain() -> None:
    plan = make_plan(mixtral(), machine(gpu(free=80 * GiB)), Policy())
    assert plan.estimated_terms == (GPU_OVERHEAD,)
    assert certain_to_fit(plan, Policy())
    rough = replace(plan, estimated_terms=("compute buffers of a newcomer", GPU_OVERHEAD))
    assert not certain_to_fit(rough, Policy())
    assert not certain_to_fit(replace(plan, basis="recorded shape"), Policy())
