"""Compute buffers: ggml's allocator by hand arithmetic, and what the graphs imply for a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.compute import ComputeModel, pipelined
from localllm.core.graph import repeats
from localllm.core.graph.allocator import Arena, allocate
from localllm.core.graph.families import Family, decoder
from localllm.core.graph.tensors import Graph, Tensor
from localllm.core.hardware import Device
from localllm.core.memory import Placement, RunShape, device_overhead_bytes
from localllm.core.model import ModelSpec
from localllm.core.traits import DeviceTraits, device_traits
from localllm.units import MiB
from tests.support.specs import gpu, host, llama, llama_3_2_1b, llama_3_8b, llama_3_70b, mixtral

AT_8K = RunShape(n_ctx=8192, n_ubatch=512)
CUDA = device_traits(gpu())
STATE = 512 * 4096 * 4
"""A hidden state of an 8B model's batch, F32: 8 MiB."""


def buffers(
    model: ModelSpec,
    shape: RunShape = AT_8K,
    *,
    n_gpu_layers: int | None = None,
    machine: tuple[DeviceTraits, ...] = (CUDA,),
    host_experts: int = 0,
) -> tuple[int, ...]:
    total = model.n_layer_total
    offloaded = (total if n_gpu_layers is None else n_gpu_layers) if machine else 0
    each, rest = divmod(offloaded, max(len(machine), 1))
    placement = Placement(
        n_gpu_layers=offloaded,
        layers_per_device=tuple(each + (i < rest) for i in range(len(machine))),
        host_expert_layers=frozenset(range(host_experts)),
    )
    return ComputeModel(model, host()).buffers(placement, shape, machine)


def mib(sizes: tuple[int, ...]) -> list[float]:
    return [round(size / MiB, 1) for size in sizes]


# ---------------------------------------------------------------------------- the allocator


def laid_out(graph: Graph) -> int:
    arena = Arena(32, lambda tensor: tensor.n_bytes)
    leafs = [(leaf, 0) for leaf in graph.leafs]
    allocate(leafs, [(node, 0) for node in graph.nodes], (arena,))
    return arena.size


def vector(graph: Graph) -> Tensor:
    """4 KiB that have memory of their own."""
    return graph.stored((1024,), 4096, place=0)


def test_a_chain_of_results_needs_two_places() -> None:
    g = Graph()
    x = vector(g)
    for _ in range(5):
        x = g.like("cont", x)
    g.expand(x)
    assert laid_out(g) == 2 * 4096


def test_an_input_is_there_from_the_start_and_free_after_its_last_reader() -> None:
    g = Graph()
    early, late = g.input((1024,), "f32"), g.input((1024,), "f32")
    x = g.like("cont", g.like("cont", early))
    g.expand(g.like("glu", x, late))
    # Both inputs and the first copy; the second copy and the result go where others were.
    assert laid_out(g) == 3 * 4096


def test_a_sum_is_written_over_the_source_that_nobody_else_reads() -> None:
    for op, places in (("add", 2), ("glu", 3)):
        g = Graph()
        a, b = g.like("cont", vector(g)), g.like("cont", vector(g))
        g.expand(g.like(op, a, b))
        assert laid_out(g) == places * 4096, op


def test_a_source_with_another_reader_is_not_written_over() -> None:
    g = Graph()
    a = g.like("cont", vector(g))
    b = g.like("mul", a, vector(g))
    assert laid_out_with(g, b) == 1 * 4096
    g = Graph()
    a = g.like("cont", vector(g))
    b = g.like("mul", a, vector(g))
    assert laid_out_with(g, g.like("add", b, a)) == 2 * 4096


def laid_out_with(graph: Graph, result: Tensor) -> int:
    graph.expand(result)
    return laid_out(graph)


def test_a_view_keeps_what_it_looks_at() -> None:
    g = Graph()
    view = g.expand(g.view(g.like("cont", vector(g)), (512,), packed=True))
    later = g.expand(g.like("cont", vector(g)))
    assert laid_out_with(g, g.like("glu", later, view)) == 3 * 4096


def test_the_smallest_free_block_that_fits_is_taken() -> None:
    arena = Arena(32, lambda tensor: tensor.n_bytes)
    places = [arena.take(size) for size in (64, 32, 320, 32, 96, 32)]
    for place, size in zip(places[::2], (64, 320, 96), strict=True):
        arena.give_back(place, size)
    assert arena.take(96) == places[4]
    assert arena.take(64) == places[0]
    assert arena.take(320) == places[2]


def test_neighbouring_free_blocks_become_one() -> None:
    arena = Arena(32, lambda tensor: tensor.n_bytes)
    a, b, _ = arena.take(64), arena.take(64), arena.take(32)
    arena.give_back(a, 64)
    arena.give_back(b, 64)
    assert arena.take(128) == a


# ---------------------------------------------------------------------------- against dry runs


@pytest.mark.parametrize(
    ("model", "n_gpu_layers", "n_outputs_max", "device_mib", "host_mib"),
    [
        # llama.cpp's dry runs with weights streamed as CUDA does, at 8k.
        (llama_3_8b(), 16, 512, 258.5, 24.0),
        (llama_3_8b(), 16, 1, 129.5, 24.0),
        (llama_3_8b(), 0, 512, 669.5, 24.0),
        (llama_3_8b(), 0, 1, 129.5, 24.0),
        (llama_3_70b(), 0, 512, 1088.5, 40.0),
    ],
)
def test_streamed_weights_equal_dry_runs(
    model: ModelSpec, n_gpu_layers: int, n_outputs_max: int, device_mib: float, host_mib: float
) -> None:
    shape = replace(AT_8K, n_outputs_max=n_outputs_max)
    found = buffers(model, shape, n_gpu_layers=n_gpu_layers)
    assert mib(found) == pytest.approx([device_mib, host_mib], abs=0.1)


def test_a_device_that_streams_nothing_leaves_the_work_to_the_host() -> None:
    rpc = device_traits(replace(gpu(), backend="rpc"))
    device, on_host = buffers(llama_3_8b(), n_gpu_layers=16, machine=(rpc,))
    assert mib((device, on_host)) == pytest.approx([108.0, 124.0], abs=0.1)


# ---------------------------------------------------------------------------- what must hold


@pytest.mark.parametrize("model", [llama_3_8b(), llama_3_2_1b(), mixtral()])
@pytest.mark.parametrize("n_gpu_layers", [None, 9, 0])
def test_more_context_or_a_larger_batch_never_need_less(
    model: ModelSpec, n_gpu_layers: int | None
) -> None:
    sizes = [
        sum(buffers(model, replace(AT_8K, n_ctx=n_ctx, n_ubatch=n), n_gpu_layers=n_gpu_layers))
        for n_ctx, n in ((4096, 128), (8192, 128), (8192, 512), (32768, 512), (32768, 2048))
    ]
    assert sizes == sorted(sizes)


def test_scores_without_flash_attention_grow_with_context_times_batch() -> None:
    model = llama_3_8b()
    without = replace(AT_8K, flash_attn=False)
    short, long = (buffers(model, replace(without, n_ctx=n))[0] for n in (8192, 16384))
    # [n_kv, n, n_head] in F32, and its mask.
    assert long - short == pytest.approx(8192 * 512 * (32 + 1) * 4, rel=0.001)


def test_a_quantised_cache_is_read_through_an_f16_copy_on_cuda_alone() -> None:
    shape = replace(AT_8K, n_ctx=65536, type_k="q8_0", type_v="q8_0")
    plain = replace(CUDA, copies_quantised_kv=False)
    with_copy, without = (buffers(llama_3_8b(), shape, machine=(t,))[0] for t in (CUDA, plain))
    assert with_copy > without


def test_experts_in_ram_pass_through_the_device_one_tensor_at_a_time() -> None:
    model = mixtral()
    on_gpu, _ = buffers(model)
    streamed, _ = buffers(model, host_experts=model.n_layer)
    largest = max(t.n_bytes for t in model.tensors if "_exps" in t.name)
    assert largest < streamed <= on_gpu + largest


def test_a_batch_below_32_tokens_streams_nothing() -> None:
    model = llama_3_8b()
    few = buffers(model, replace(AT_8K, n_ubatch=16), n_gpu_layers=0)
    many = buffers(model, replace(AT_8K, n_ubatch=32), n_gpu_layers=0)
    assert few[0] < 1 * MiB < many[0]


def test_sequences_share_the_mask_of_their_own_cells() -> None:
    four = buffers(llama_3_8b(), replace(AT_8K, n_seq=4))
    one = buffers(llama_3_8b(), AT_8K)
    # A quarter of the cells for a quarter of the tokens each, four times: 2 of 8 MiB.
    assert one[1] - four[1] == pytest.approx(6 * MiB, abs=0.1 * MiB)


def test_heads_that_cuda_has_no_kernel_for_are_left_to_the_cpu() -> None:
    odd = llama(n_layer=4, n_embd=1024, n_head=32, n_head_kv=8, n_ff=4096)
    device, on_host = buffers(odd)
    _, plain_host = buffers(odd, machine=(replace(CUDA, rules="plain"),))
    assert on_host > plain_host
    assert device > 0


def test_a_layer_more_on_a_gpu_is_asked_about_once() -> None:
    model = ComputeModel(llama_3_70b(), host())
    for n in (40, 41, 40):
        model.buffers(Placement(n_gpu_layers=n, layers_per_device=(n,)), AT_8K, (CUDA,))
    # 40 and 41 of 80 equal blocks are the same graph, once it is thinned out.
    assert len(model._known) <= 2


# ---------------------------------------------------------------------------- pipelines


def test_only_several_asynchronous_devices_with_every_layer_are_pipelined() -> None:
    model = llama_3_8b()
    whole = Placement(n_gpu_layers=33, layers_per_device=(17, 16))
    assert pipelined(model, whole, (CUDA, CUDA))
    assert not pipelined(model, whole, (CUDA,))
    assert not pipelined(model, whole, (CUDA, replace(CUDA, pipelines=False)))
    assert not pipelined(model, replace(whole, n_gpu_layers=32), (CUDA, CUDA))
    assert not pipelined(model, replace(whole, host_expert_layers=frozenset({0})), (CUDA, CUDA))


def test_pipelines_hold_four_copies_of_the_inputs() -> None:
    model = llama_3_8b()
    one = buffers(model)
    two = buffers(model, machine=(CUDA, CUDA))
    mask = 2 * 8192 * 512
    assert two[-1] - one[-1] == pytest.approx(3 * (STATE + mask), abs=0.1 * MiB)


# ---------------------------------------------------------------------------- equal blocks


@pytest.mark.parametrize("n_gpu_layers", [None, 20, 0])
@pytest.mark.parametrize("n_devices", [0, 1, 3])
def test_building_some_of_many_equal_blocks_finds_what_building_all_does(
    monkeypatch: pytest.MonkeyPatch, n_gpu_layers: int | None, n_devices: int
) -> None:
    machine = (CUDA,) * n_devices
    quick = [
        buffers(model, n_gpu_layers=n_gpu_layers, machine=machine)
        for model in (llama_3_70b(), mixtral())
    ]
    monkeypatch.setattr(repeats, "ROUNDS", 1000)
    whole = [
        buffers(model, n_gpu_layers=n_gpu_layers, machine=machine)
        for model in (llama_3_70b(), mixtral())
    ]
    assert quick == whole


def test_runs_are_cut_to_their_first_rounds_and_the_last_block_stays() -> None:
    keys = "a" + "bbc" * 20 + "d" * 9 + "e"
    kept = "".join(keys[i] for i in repeats.thinned(keys))
    # Of an odd number of rounds an odd one stays: results take turns in two places.
    assert kept == "a" + "bbc" * repeats.ROUNDS + "d" * (repeats.ROUNDS + 1) + "e"


def test_nothing_is_cut_from_a_short_or_an_empty_model() -> None:
    assert repeats.thinned("") == []
    assert repeats.thinned("aaa") == [0, 1, 2]


# ---------------------------------------------------------------------------- unknown families


@pytest.mark.parametrize("model", [llama_3_8b(), llama_3_70b(), llama_3_2_1b(), mixtral()])
@pytest.mark.parametrize("shape", [AT_8K, replace(AT_8K, flash_attn=False, n_outputs_max=512)])
@pytest.mark.parametrize(
    ("n_gpu_layers", "machine"), [(None, (CUDA,)), (9, (CUDA,)), (0, (CUDA,)), (0, ())]
)
def test_an_unknown_family_is_bounded_from_above(
    model: ModelSpec, shape: RunShape, n_gpu_layers: int | None, machine: tuple[DeviceTraits, ...]
) -> None:
    unknown = replace(model, arch="unheard-of")
    bound = buffers(unknown, shape, n_gpu_layers=n_gpu_layers, machine=machine)
    known = buffers(model, shape, n_gpu_layers=n_gpu_layers, machine=machine)
    assert all(above >= below for above, below in zip(bound, known, strict=True))


def test_a_family_is_one_decoder_unless_it_says_otherwise() -> None:
    assert Family(decoder).late_outputs == "no"
    assert ComputeModel(llama_3_8b(), host()).proven
    assert not ComputeModel(replace(llama_3_8b(), arch="unheard-of"), host()).proven


# ---------------------------------------------------------------------------- backend context


def card(n_multiprocessors: int | None) -> Device:
    return replace(gpu(), n_multiprocessors=n_multiprocessors)


@pytest.mark.parametrize(
    ("n_multiprocessors", "measured_mib"),
    [
        (34, 107 + 75),  # RTX 4060 Ti, the context alone and the usual pools
        (188, 555 + 75),  # RTX PRO 6000 Blackwell, likewise
        (128, 454),  # RTX 4090: unaccounted for at exit
    ],
)
def test_a_cuda_context_grows_with_the_multiprocessors(
    n_multiprocessors: int, measured_mib: int
) -> None:
    found = device_overhead_bytes(card(n_multiprocessors)) / MiB
    assert found == pytest.approx(measured_mib, rel=0.01)


def test_a_device_that_tells_its_overhead_is_believed() -> None:
    assert device_overhead_bytes(replace(card(34), overhead_bytes=7)) == 7


def test_a_card_of_unknown_size_is_taken_for_a_large_one() -> None:
    assert device_overhead_bytes(card(None)) >= device_overhead_bytes(card(100))
