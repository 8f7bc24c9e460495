"""A layer in a line: where it lies, and what each of its parts takes there."""

from __future__ import annotations

from localllm.core.plan import Plan
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.core.where import layer_places, layer_sizes
from localllm.words.layers import held, layer_line
from tests.support.specs import gpu, llama_3_8b, machine, mixtral


def lines(plan: Plan) -> list[str]:
    places = layer_places(plan)
    sizes = layer_sizes(plan, places)
    return [layer_line(plan, place, size) for place, size in zip(places, sizes, strict=True)]


def test_a_dense_model_on_a_card() -> None:
    """Context: 8,192 cells x 2 x 1,024 elements x 2 bytes = 32 MiB for each layer."""
    plan = make_plan(llama_3_8b(), machine(gpu()), Policy())
    first, second, *_, last = lines(plan)
    assert first == "embedding in RAM: 281.8 MiB, looked up there"
    assert second.startswith("layer 0 on CUDA0: weights ")
    assert second.endswith(" MiB, context 32.0 MiB")
    assert last == "output layer on CUDA0: weights 411.0 MiB"
    assert held(plan, layer_places(plan)) == {"CUDA0": "33 layers", "host": "embedding"}


def test_experts_are_named_with_their_place() -> None:
    plan = make_plan(mixtral(), machine(gpu()), Policy(n_cpu_moe=1, n_gpu_layers=25, n_ctx=512))
    _, first, *_, nearly, _ = lines(plan)
    assert first.startswith("layer 0 in RAM: weights ")
    assert ", experts " in first
    assert nearly.startswith("layer 31 on CUDA0: weights ")
    assert ", experts in RAM" not in nearly


def test_one_layer_is_not_several() -> None:
    plan = make_plan(mixtral(), machine(gpu(free=60 * 2**30)), Policy(n_cpu_moe=1, n_ctx=512))
    words = held(plan, layer_places(plan))
    assert words == {"CUDA0": "33 layers", "host": "experts of 1 layer, embedding"}
    assert ", experts in RAM " in lines(plan)[1]
