"""RAM beside llama.cpp's breakdown, against what was measured on real processes.

Figures of ``scripts/check_ram.py`` and of toys with published tokenizers, on x86-64 Linux.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.breakdown import MemoryModel
from localllm.core.hardware import Host
from localllm.core.host_ram import (
    cpu_work_bytes,
    mapped_span_bytes,
    process_bytes,
    widest_operand_bytes,
)
from localllm.core.memory import Placement, RunShape
from localllm.core.model import ModelSpec, TensorInfo
from localllm.hub.known.models import known_model
from localllm.units import MiB

HOST = Host(
    cpu="test", os="linux", machine="x86_64", total_bytes=0, available_bytes=0, isa=("avx2",)
)
SHAPE = RunShape(n_ctx=8192, n_ubatch=512)


def known(name: str) -> ModelSpec:
    found = known_model(name)
    assert found is not None
    return found.spec


@pytest.fixture(scope="module")
def llama_3_8b() -> ModelSpec:
    return known("llama-3-8b:Q4_K_M")


@pytest.mark.parametrize(
    ("tokenizer", "n_vocab", "measured_mib"),
    [
        ("llama", 32_000, 30.5),  # Llama 2
        ("llama", 64_000, 35.0),  # Baichuan
        ("gpt2", 50_257, 40.8),  # GPT-2
        ("gpt2", 128_256, 76.6),  # Llama 3
        ("gpt2", 151_936, 68.8),  # Qwen2
        ("gpt2", 256_000, 102.1),  # Command R
        ("gemma4", 262_144, 118.9),  # Gemma 4
    ],
)
def test_a_process_takes_what_its_tokenizer_does(
    llama_3_8b: ModelSpec, tokenizer: str, n_vocab: int, measured_mib: float
) -> None:
    metadata = {"tokenizer.ggml.model": tokenizer}
    model = replace(llama_3_8b, n_vocab=n_vocab, metadata=metadata)
    spare = process_bytes(model) / MiB - measured_mib
    assert -1 <= spare <= 27, spare


def test_the_work_buffer_is_the_widest_operand_of_a_batch(llama_3_8b: ModelSpec) -> None:
    """``ffn_down``: 14,336 elements as q8_K, 292 bytes for each 256."""
    operand = widest_operand_bytes(llama_3_8b)
    assert operand == 14_336 // 256 * 292
    assert cpu_work_bytes(llama_3_8b, SHAPE, operand_bytes=operand) == 512 * operand


def test_without_flash_attention_the_scores_are_converted_too() -> None:
    """Measured: 1B, 2,048 tokens in one batch, takes 256 MiB more than llama.cpp prints."""
    model = known("llama-3-8b:Q4_K_M")  # as many heads as 1B
    shape = RunShape(n_ctx=2048, n_ubatch=2048, flash_attn=False)
    assert cpu_work_bytes(model, shape, operand_bytes=1) == 256 * MiB


def test_experts_project_down_once_for_each_that_is_used() -> None:
    model = known("qwen3-30b-a3b:Q4_K_M")
    assert widest_operand_bytes(model) == max(8 * 768, 32 * 128) // 256 * 292


def test_only_a_cpu_that_evaluates_prompts_has_a_work_buffer(llama_3_8b: ModelSpec) -> None:
    memory = MemoryModel(llama_3_8b, (), HOST)
    on_cpu = memory.host_overhead_bytes(Placement(n_gpu_layers=0, layers_per_device=()), SHAPE)
    on_gpu = memory.host_overhead_bytes(Placement(n_gpu_layers=33, layers_per_device=(33,)), SHAPE)
    assert on_cpu - on_gpu == 512 * widest_operand_bytes(llama_3_8b)


def laid_out(*parts: int) -> ModelSpec:
    """An embedding, a repacked matrix, and a plain one, 256 KiB of q4_K or q6_K each."""
    names = ("token_embd.weight", "blk.0.ffn_up.weight", "blk.0.ffn_down.weight")
    kinds = ("q4_K", "q4_K", "q6_K")
    tensors = tuple(
        TensorInfo(
            name=name,
            type=kind,
            shape=(512, 512),
            n_bytes=1000,
            offset=100 + 1000 * sum(part == parts[before] for before in range(i)),
            part=part,
        )
        for i, (name, kind, part) in enumerate(zip(names, kinds, parts, strict=True))
    )
    return replace(known("llama-3-8b:Q4_K_M"), tensors=tensors)


def test_what_was_repacked_out_of_the_middle_of_a_file_stays_resident() -> None:
    assert mapped_span_bytes(laid_out(0, 0, 0), HOST, repack=False) == 3000
    assert mapped_span_bytes(laid_out(0, 0, 0), HOST, repack=True) == 3000


def test_a_part_of_which_everything_was_repacked_is_given_back() -> None:
    assert mapped_span_bytes(laid_out(0, 1, 2), HOST, repack=False) == 3000
    assert mapped_span_bytes(laid_out(0, 1, 2), HOST, repack=True) == 2000


def test_tensors_on_a_device_count_only_where_they_lie_between_others() -> None:
    def on_host(tensor: TensorInfo) -> bool:
        return tensor.layer is None

    assert mapped_span_bytes(laid_out(0, 0, 0), HOST, repack=False, in_place=on_host) == 1000
