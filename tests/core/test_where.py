"""Every layer has its place, and the parts of each place add up to its row of the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from localllm.core.plan import Plan
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.core.shares import layers_by_shares
from localllm.core.where import experts_apart, layer_places, layer_sizes, layers_on
from localllm.units import GiB
from tests.support.specs import gpu, llama_3_2_1b, llama_3_8b, llama_3_70b, machine, mixtral

ONE = machine(gpu())
TWO = machine(gpu(free=20 * GiB), gpu("CUDA1", free=8 * GiB))
SHARED = machine(replace(gpu("MTL0"), unified=True, backend="metal"))

PLANS: dict[str, Callable[[], Plan]] = {
    "CPU, tied": lambda: make_plan(llama_3_2_1b(), machine(), Policy()),
    "CPU beside a GPU": lambda: make_plan(llama_3_2_1b(), ONE, Policy(n_gpu_layers=0)),
    "one GPU, tied": lambda: make_plan(llama_3_2_1b(), ONE, Policy()),
    "in part": lambda: make_plan(llama_3_8b(), ONE, Policy(n_ctx=512, n_gpu_layers=12)),
    "experts in RAM": lambda: make_plan(mixtral(), ONE, Policy(n_cpu_moe=7)),
    "two unlike GPUs": lambda: make_plan(llama_3_8b(), TWO, Policy(tensor_split=(3, 1))),
    "two and RAM": lambda: make_plan(
        llama_3_70b(), TWO, Policy(n_gpu_layers=30, tensor_split=(22, 8))
    ),
    "shared memory": lambda: make_plan(llama_3_8b(), SHARED, Policy()),
}


@cache
def plan_of(name: str) -> Plan:
    return PLANS[name]()


def bytes_by_row(plan: Plan) -> tuple[Counter[str], Counter[str]]:
    """Weights and cache by row, added up layer by layer."""
    weights: Counter[str] = Counter()
    context: Counter[str] = Counter()
    places = layer_places(plan)
    for place, size in zip(places, layer_sizes(plan, places), strict=True):
        weights[place.device] += size.weight_bytes
        weights[place.experts or place.device] += size.expert_bytes
        weights[plan.host.name] += size.left_in_ram_bytes
        context[place.device] += size.context_bytes
    return weights, context


@pytest.mark.parametrize("name", PLANS)
def test_layers_add_up_to_the_rows_of_the_plan(name: str) -> None:
    plan = plan_of(name)
    weights, context = bytes_by_row(plan)
    counts = layers_on(layer_places(plan))
    for row in plan.devices:
        assert counts[row.name] == row.n_layers
        assert context[row.name] == row.context_bytes
        assert weights[row.name] == row.model_bytes


@pytest.mark.parametrize("name", PLANS)
def test_every_layer_is_named_once_in_order(name: str) -> None:
    plan = plan_of(name)
    first, *blocks, last = layer_places(plan)
    assert (first.kind, first.device, first.index) == ("input", "host", -1)
    assert [place.index for place in blocks] == list(range(plan.model.n_layer))
    assert (last.kind, last.index) == ("output", plan.model.n_layer)
    rows = [row.name for row in plan.devices]
    order = [rows.index(place.device) for place in (*blocks, last)]
    on_gpus = [index for index in order if index != len(rows) - 1]
    assert order == [len(rows) - 1] * (len(order) - len(on_gpus)) + sorted(on_gpus)


def test_the_first_layers_stay_in_ram() -> None:
    """Llama 3 70B, 81 layers, of which 30 are asked for on the cards: 51 before them are not."""
    _, *places = layer_places(plan_of("two and RAM"))
    assert [place.device for place in places] == ["host"] * 51 + ["CUDA0"] * 22 + ["CUDA1"] * 8


def test_shares_put_the_border_where_llama_cpp_does() -> None:
    _, *places = layer_places(plan_of("two unlike GPUs"))
    first, second = layers_by_shares(33, (3, 1))
    assert [place.device for place in places] == ["CUDA0"] * first + ["CUDA1"] * second


def test_experts_that_stay_in_ram_are_told_apart() -> None:
    plan = plan_of("experts in RAM")
    _, *blocks, output = layer_places(plan)
    assert [place.index for place in blocks if place.is_split] == list(range(7))
    assert {place.experts for place in blocks[:7]} == {"host"}
    assert {place.experts for place in blocks[7:]} == {"CUDA0"}
    assert output.experts is None
    assert experts_apart(layer_places(plan)) == {"host": 7}


def test_a_dense_model_has_no_experts() -> None:
    places = layer_places(plan_of("one GPU, tied"))
    assert {place.experts for place in places} == {None}
    assert not experts_apart(places)


def test_a_leading_dense_layer_has_none_beside_others_that_do() -> None:
    plan = plan_of("experts in RAM")
    plain = tuple(t for t in plan.model.tensors if not (t.layer == 0 and "_exps" in t.name))
    _, *blocks, _ = layer_places(replace(plan, model=replace(plan.model, tensors=plain)))
    assert blocks[0].experts is None
    assert all(place.experts for place in blocks[1:])
