"""The memory formulas against hand arithmetic and against figures that llama.cpp itself printed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.breakdown import MemoryModel
from localllm.core.memory import Placement, RunShape, padded_n_ctx
from localllm.core.model import ModelSpec
from localllm.units import GiB, MiB
from tests.support.specs import gpu, host, llama_3_8b, llama_3_70b, mixtral

AT_8K = RunShape(n_ctx=8192, n_ubatch=512)


def test_context_is_padded_to_256_per_sequence() -> None:
    assert padded_n_ctx(1) == 256
    assert padded_n_ctx(8192) == 8192
    assert padded_n_ctx(1000, n_seq=4) == 1024
    assert padded_n_ctx(1030, n_seq=4) == 4 * 512


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
        # Real reservations over two equal GPUs at 8k: first device, last device, host.
        (llama_3_8b(), 512, (172.0, 322.6, 72.0)),
        (llama_3_70b(), 512, (312.0, 362.6, 112.0)),
        (llama_3_70b(), 1, (312.0, 312.0, 112.0)),
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


def test_a_family_whose_graph_is_not_known_is_marked_as_estimated() -> None:
    placement = Placement(n_gpu_layers=0, layers_per_device=())
    known = MemoryModel(mixtral(), (), host())
    unknown = MemoryModel(replace(llama_3_8b(), arch="unheard-of"), (), host())
    assert known.breakdown(placement, AT_8K).estimated == ()
    assert any("upper bound" in t for t in unknown.breakdown(placement, AT_8K).estimated)
