"""The memory formulas against hand arithmetic and against figures that llama.cpp itself printed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.breakdown import MemoryModel
from localllm.core.cache import kv_layer_bytes
from localllm.core.ggml import row_bytes
from localllm.core.memory import Placement, RunShape, padded_n_ctx
from localllm.core.model import ModelSpec
from localllm.core.weights import device_tensor_bytes, host_weight_bytes, weight_table
from localllm.units import GiB, MiB
from tests.support.specs import gpu, host, llama_3_2_1b, llama_3_8b, llama_3_70b, mixtral

AT_8K = RunShape(n_ctx=8192, n_ubatch=512)


def mib(n_bytes: int) -> float:
    return round(n_bytes / MiB, 2)


def test_llama_3_8b_keeps_one_gib_of_f16_cache_at_8k() -> None:
    model = llama_3_8b()
    total = sum(kv_layer_bytes(model, i, AT_8K) for i in range(model.n_layer))
    assert total == 32 * 8192 * (8 * 128 * 2 + 8 * 128 * 2) == 1 * GiB


def test_a_q8_0_cache_is_34_64ths_of_an_f16_cache() -> None:
    model = llama_3_8b()
    f16 = kv_layer_bytes(model, 0, AT_8K)
    q8_0 = kv_layer_bytes(model, 0, replace(AT_8K, type_k="q8_0", type_v="q8_0"))
    assert q8_0 * 64 == f16 * 34


def test_a_sliding_window_keeps_the_window_and_one_batch() -> None:
    model = llama_3_8b()
    swa = replace(
        model, swa_type="standard", n_swa=1024, layers=(replace(model.layers[0], is_swa=True),) * 32
    )
    # PAD(min(8192, 1024 + 512), 256) = 1536 cells
    assert kv_layer_bytes(swa, 0, AT_8K) == 1536 * (8 * 128 * 2) * 2


def test_without_flash_attention_v_rows_are_as_wide_as_the_widest_layers() -> None:
    model = llama_3_8b()
    narrow = replace(model.layers[0], n_head_kv=4)
    mixed = replace(model, layers=(narrow, *model.layers[1:]))
    shape = replace(AT_8K, flash_attn=False)
    assert kv_layer_bytes(mixed, 0, shape) == 8192 * (4 * 128 * 2 + 8 * 128 * 2)
    assert kv_layer_bytes(mixed, 0, AT_8K) == 8192 * (4 * 128 * 2 + 4 * 128 * 2)


def test_context_is_padded_to_256_per_sequence() -> None:
    assert padded_n_ctx(1) == 256
    assert padded_n_ctx(8192) == 8192
    assert padded_n_ctx(1000, n_seq=4) == 1024
    assert padded_n_ctx(1030, n_seq=4) == 4 * 512


def test_8b_weights_equal_a_cuda_log() -> None:
    """llama.cpp prints CPU 281.81 MiB and GPU 4403.49 MiB for Llama-3-8B Q4_K_M."""
    table = weight_table(llama_3_8b(), alignment_bytes=128, row_padding=512)
    assert mib(table.input_bytes) == 281.81
    assert mib(table.output_bytes + sum(layer.dense_bytes for layer in table.layers)) == 4403.49


def test_cpu_repacking_of_8b_equals_a_dry_run() -> None:
    """llama.cpp's dry run on AVX2: CPU_REPACK 3,204 MiB, plain CPU 1,481.30 MiB."""
    model = llama_3_8b()
    table = weight_table(model, host=host())
    repacked = host_weight_bytes(table, range(32), holds_output=True).repacked_bytes
    memory = MemoryModel(model, (), host())
    terms = memory.breakdown(Placement(n_gpu_layers=0, layers_per_device=()), AT_8K).host
    assert mib(repacked) == 3204.0
    assert mib(terms.mapped_bytes) == 1481.3
    assert terms.model_bytes == repacked + terms.mapped_bytes


@pytest.mark.parametrize(
    ("model", "shape", "device_mib", "host_mib"),
    [
        # llama.cpp's dry runs: device and host compute buffers with all layers on one GPU.
        (llama_3_8b(), AT_8K, 116.0, 24.0),
        (llama_3_8b(), replace(AT_8K, n_ctx=32768), 140.0, 48.0),
        (llama_3_8b(), replace(AT_8K, n_ubatch=2048), 464.0, 96.1),
        (llama_3_8b(), replace(AT_8K, flash_attn=False), 564.0, 36.0),
        (llama_3_8b(), replace(AT_8K, type_k="q8_0", type_v="q8_0"), 116.1, 24.1),
        (llama_3_8b(), replace(AT_8K, n_outputs_max=512), 258.5, 24.0),
        (llama_3_70b(), AT_8K, 224.0, 40.0),
        (llama_3_70b(), replace(AT_8K, n_ctx=32768), 248.0, 64.0),
        (llama_3_70b(), replace(AT_8K, flash_attn=False), 1108.0, 52.0),
        (llama_3_70b(), replace(AT_8K, n_outputs_max=512), 266.5, 40.0),
    ],
)
def test_compute_buffers_equal_llama_cpps_dry_runs(
    model: ModelSpec, shape: RunShape, device_mib: float, host_mib: float
) -> None:
    total = model.n_layer_total
    memory = MemoryModel(model, (gpu(free=80 * GiB),), host())
    found = memory.breakdown(Placement(n_gpu_layers=total, layers_per_device=(total,)), shape)
    assert found.devices[0].compute_bytes / MiB == pytest.approx(device_mib, abs=0.15)
    assert found.host.compute_bytes / MiB == pytest.approx(host_mib, abs=0.15)


@pytest.mark.parametrize(
    ("model", "n_outputs_max", "dry_run_mib"),
    [
        # llama.cpp's dry runs over two equal GPUs at 8k: first device, last device, host.
        (llama_3_8b(), 512, (172.0, 354.6, 72.0)),
        (llama_3_70b(), 512, (312.0, 426.6, 112.0)),
        (llama_3_70b(), 1, (312.0, 376.0, 112.0)),
    ],
)
def test_pipeline_copies_equal_dry_runs_over_two_gpus(
    model: ModelSpec, n_outputs_max: int, dry_run_mib: tuple[float, float, float]
) -> None:
    n_first = model.n_layer_total // 2
    placement = Placement(
        n_gpu_layers=model.n_layer_total,
        layers_per_device=(n_first, model.n_layer_total - n_first),
    )
    two = MemoryModel(model, (gpu("CUDA0"), gpu("CUDA1")), host())
    found = two.breakdown(placement, replace(AT_8K, n_outputs_max=n_outputs_max))
    for terms, expected in zip((*found.devices, found.host), dry_run_mib, strict=True):
        assert terms.compute_bytes / MiB == pytest.approx(expected, abs=0.15)


def test_layers_partly_in_ram_are_not_pipelined() -> None:
    model = llama_3_70b()
    two = MemoryModel(model, (gpu("CUDA0"), gpu("CUDA1")), host())
    part = two.breakdown(Placement(n_gpu_layers=40, layers_per_device=(20, 20)), AT_8K)
    # The input embedding twice, [8192, 512] in F32, and one mask: 40 MiB in the dry run.
    assert part.host.compute_bytes / MiB == pytest.approx(40, abs=0.15)


def test_cpu_only_compute_equals_a_dry_run() -> None:
    """8B at 8k without layers on a GPU, every output kept: 266.5 MiB on the host."""
    memory = MemoryModel(llama_3_8b(), (), host())
    shape = replace(AT_8K, n_outputs_max=512)
    terms = memory.breakdown(Placement(n_gpu_layers=0, layers_per_device=()), shape).host
    assert terms.compute_bytes / MiB == pytest.approx(266.5, abs=0.15)


def test_tied_embeddings_are_on_both_sides_as_soon_as_the_output_is_on_a_gpu() -> None:
    model = llama_3_2_1b()
    memory = MemoryModel(model, (gpu(),), host())
    terms = memory.breakdown(Placement(n_gpu_layers=1, layers_per_device=(1,)), AT_8K)
    matrix = row_bytes("q6_K", 2048) * 128256
    assert terms.devices[0].model_bytes == matrix + 2048 * 4
    assert terms.host.model_bytes >= matrix


def test_tied_embeddings_are_there_once_on_the_cpu() -> None:
    model = llama_3_2_1b()
    memory = MemoryModel(model, (), host())
    terms = memory.breakdown(Placement(n_gpu_layers=0, layers_per_device=()), AT_8K).host
    assert terms.model_bytes == sum(t.n_bytes for t in model.tensors)


def test_quantised_rows_on_cuda_are_padded_to_512_elements_once_per_tensor() -> None:
    tensor = llama_3_8b().tensors[0]
    odd = replace(tensor, type="q8_0", shape=(1056, 4), n_bytes=row_bytes("q8_0", 1056) * 4)
    expected = odd.n_bytes + row_bytes("q8_0", 512 - 1056 % 512)
    size = device_tensor_bytes(odd, alignment_bytes=128, row_padding=512)
    assert 0 <= size - expected < 128


def test_experts_kept_in_ram_leave_the_gpu() -> None:
    model = mixtral()
    memory = MemoryModel(model, (gpu(),), host())
    all_on_gpu = Placement(n_gpu_layers=33, layers_per_device=(33,))
    in_ram = replace(all_on_gpu, host_expert_layers=frozenset(range(8)))
    before, after = memory.breakdown(all_on_gpu, AT_8K), memory.breakdown(in_ram, AT_8K)
    expert_bytes = sum(t.n_bytes for t in model.tensors if "_exps" in t.name and (t.layer or 0) < 8)
    assert before.devices[0].model_bytes - after.devices[0].model_bytes == expert_bytes
    assert after.host.model_bytes - before.host.model_bytes == expert_bytes


def test_a_family_whose_graph_is_not_known_is_marked_as_estimated() -> None:
    placement = Placement(n_gpu_layers=0, layers_per_device=())
    known = MemoryModel(mixtral(), (), host())
    unknown = MemoryModel(replace(llama_3_8b(), arch="unheard-of"), (), host())
    assert known.breakdown(placement, AT_8K).estimated == ()
    assert any("upper bound" in t for t in unknown.breakdown(placement, AT_8K).estimated)
