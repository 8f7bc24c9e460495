"""Which tensor lies where, and how many bytes it takes there.

``tests/engine/test_differential.py`` holds the sums to llama.cpp for every architecture.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.breakdown import MemoryModel
from localllm.core.ggml import TYPES_BY_NAME, row_bytes
from localllm.core.memory import DeviceTerms, Placement, RunShape
from localllm.core.model import ModelSpec, TensorInfo
from localllm.core.ownership import Owner, copies_embedding, owner, stays_in_ram
from localllm.core.weights import (
    device_tensor_bytes,
    device_weight_bytes,
    host_weight_bytes,
    repacks,
    weight_table,
)
from localllm.units import MiB
from tests.support.specs import gpu, host, llama_3_2_1b, llama_3_8b, mixtral

AT_8K = RunShape(n_ctx=8192, n_ubatch=512)


def mib(n_bytes: int) -> float:
    return round(n_bytes / MiB, 2)


def tensor(name: str, *shape: int, type_: str = "f32") -> TensorInfo:
    n_rows = 1
    for n in shape[1:]:
        n_rows *= n
    size = row_bytes(type_, shape[0]) * n_rows
    return TensorInfo(name=name, type=type_, shape=shape, n_bytes=size, offset=0)


def plus(model: ModelSpec, *tensors: TensorInfo) -> ModelSpec:
    return replace(model, tensors=(*model.tensors, *tensors))


def on_cpu(model: ModelSpec) -> DeviceTerms:
    placement = Placement(n_gpu_layers=0, layers_per_device=())
    return MemoryModel(model, (), host()).breakdown(placement, AT_8K).host


def weight_bytes_in_ram(model: ModelSpec) -> int:
    table = weight_table(model, host=host())
    return host_weight_bytes(table, range(model.n_layer), holds_output=True).model_bytes


@pytest.mark.parametrize(
    ("name", "arch", "expected"),
    [
        ("token_embd.weight", "llama", Owner("input")),
        ("per_layer_token_embd.weight", "gemma3n", Owner("input")),
        ("token_types.weight", "bert", Owner("input")),
        ("token_embd_norm.weight", "bloom", Owner("block", 0)),
        ("token_embd_norm.weight", "lfm2", Owner("output")),
        ("per_layer_model_proj.weight", "gemma4", Owner("block", 0)),
        ("hrm.z_l_init", "hrm_text", Owner("block", 0)),
        ("rope_freqs.weight", "llama", Owner("rotary")),
        ("rope_factors_long.weight", "phi3", Owner("rotary")),
        ("output_norm.bias", "falcon", Owner("output")),
        ("output_hc_base.weight", "deepseek4", Owner("output")),
        ("altup_unembd_proj.weight", "gemma3n", Owner("output")),
        ("cls.output.weight", "qwen3", Owner("output")),
        ("dense_2.weight", "gemma-embedding", Owner("output")),
        ("enc.output_norm.weight", "t5", Owner("output")),
        ("blk.7.ffn_down_exps.bias", "gpt-oss", Owner("block", 7)),
        ("enc.blk.3.attn_q.weight", "t5encoder", Owner("block", 3)),
        ("posnet.2.conv1.weight", "wavtokenizer-dec", Owner("block", 2)),
        ("masked_embd_centroids.weight", "gemma4-assistant", Owner("nobody")),
        ("dec.blk.1.cross_attn_rel_b.weight", "t5", Owner("nobody")),
    ],
)
def test_every_tensor_has_its_place(name: str, arch: str, expected: Owner) -> None:
    assert owner(replace(llama_3_8b(), arch=arch), tensor(name, 8)) == expected


def test_mtp_blocks_are_left_out_where_llama_cpp_skips_them() -> None:
    model = replace(llama_3_8b(), n_layer_nextn=1)

    def place(arch: str, name: str, layer: int = 31) -> Owner:
        return owner(replace(model, arch=arch), tensor(f"blk.{layer}.{name}", 8))

    assert place("glm4moe", "attn_q.weight") == Owner("nobody")
    assert place("glm4moe", "attn_q.weight", layer=30) == Owner("block", 30)
    assert place("qwen4exp", "attn_q.weight") == Owner("block", 31)
    # llama.cpp forgets to skip some tensors of some architectures.
    assert place("step35", "ffn_up_exps.weight") == Owner("block", 31)
    assert place("step35", "ffn_norm.weight") == Owner("nobody")
    assert place("glm-dsa", "exp_probs_b.bias") == Owner("block", 31)
    assert place("hy_v3", "nextn.embed_tokens.weight") == Owner("block", 31)


def test_8b_weights_equal_a_cuda_log() -> None:
    """llama.cpp prints CPU 281.81 MiB and GPU 4403.49 MiB for Llama-3-8B Q4_K_M."""
    table = weight_table(llama_3_8b(), alignment_bytes=128, row_padding=512)
    assert mib(table.input_bytes) == 281.81
    assert mib(device_weight_bytes(table, range(32), holds_output=True)) == 4403.49


def test_cpu_repacking_of_8b_equals_a_dry_run() -> None:
    """llama.cpp's dry run on AVX2: CPU_REPACK 3,204 MiB, plain CPU 1,481.30 MiB."""
    table = weight_table(llama_3_8b(), host=host())
    weights = host_weight_bytes(table, range(32), holds_output=True)
    terms = on_cpu(llama_3_8b())
    assert mib(weights.repacked_bytes) == 3204.0
    assert mib(terms.mapped_bytes) == 1481.3
    assert terms.model_bytes == weights.model_bytes == weights.repacked_bytes + terms.mapped_bytes


def test_without_repacking_everything_stays_as_it_is_in_the_file() -> None:
    table = weight_table(llama_3_8b(), host=host())
    weights = host_weight_bytes(table, range(32), holds_output=True, repack=False)
    assert weights.repacked_bytes == 0
    assert weights.model_bytes == sum(t.n_bytes for t in llama_3_8b().tensors)


@pytest.mark.parametrize(
    ("name", "shape", "type_", "repacked"),
    [
        ("blk.0.ffn_up.weight", (256, 512), "q4_K", True),
        ("blk.0.ffn_up.weight", (256, 508), "q4_K", False),  # rows are interleaved by eight
        ("blk.0.ffn_up.weight", (256, 512), "q6_K", False),
        ("blk.0.ffn_up_exps.weight", (256, 512, 8), "q4_K", True),
        ("blk.0.ffn_up_exps.weight", (256, 512, 1), "q4_K", False),  # one expert: two dimensions
        ("blk.0.attn_k_b.weight", (256, 512, 8), "q4_K", False),  # three, and no experts
        ("blk.0.nextn.embed_tokens.weight", (256, 512), "q4_K", False),  # looked up
        ("output.weight", (256, 512), "q4_0", True),
        ("output.weight", (256, 512), "q2_K", False),
    ],
)
def test_avx2_rearranges_matrices_that_are_multiplied(
    name: str, shape: tuple[int, ...], type_: str, repacked: bool
) -> None:
    assert repacks(tensor(name, *shape, type_=type_), host()) is repacked


def test_what_is_rearranged_depends_on_the_cpu() -> None:
    q2, q8 = (tensor("blk.0.ffn_up.weight", 256, 512, type_=t) for t in ("q2_K", "q8_0"))
    assert repacks(q2, replace(host(), isa=("avx2", "avx512f")))
    assert repacks(q8, replace(host(), isa=("dotprod",)))
    assert not repacks(q8, host())
    assert not repacks(q2, replace(host(), isa=()))


def test_ram_beside_a_card_is_pinned_and_not_rearranged() -> None:
    model, none = llama_3_8b(), Placement(n_gpu_layers=0, layers_per_device=(0,))
    beside_cuda = MemoryModel(model, (gpu(),), host()).breakdown(none, AT_8K).host
    worker = replace(gpu("RPC0"), backend="rpc")
    beside_rpc = MemoryModel(model, (worker,), host()).breakdown(none, AT_8K).host
    assert beside_cuda.mapped_bytes == beside_cuda.model_bytes
    assert mib(beside_rpc.model_bytes - beside_rpc.mapped_bytes) == 3204.0


def test_tied_embeddings_are_on_both_sides_as_soon_as_the_output_is_on_a_gpu() -> None:
    memory = MemoryModel(llama_3_2_1b(), (gpu(),), host())
    terms = memory.breakdown(Placement(n_gpu_layers=1, layers_per_device=(1,)), AT_8K)
    matrix = row_bytes("q6_K", 2048) * 128256
    assert terms.devices[0].model_bytes == matrix + 2048 * 4
    assert terms.host.model_bytes >= matrix


def test_tied_embeddings_are_there_once_on_the_cpu() -> None:
    assert on_cpu(llama_3_2_1b()).model_bytes == sum(t.n_bytes for t in llama_3_2_1b().tensors)


def test_tied_embeddings_that_are_rearranged_are_there_twice() -> None:
    model = llama_3_2_1b()
    matrix = tensor("token_embd.weight", 2048, 128256, type_="q4_K")
    packed = replace(model, tensors=(matrix, *model.tensors[1:]))
    total = sum(t.n_bytes for t in packed.tensors)
    assert on_cpu(packed).model_bytes == total + matrix.n_bytes


def test_gemma_3n_and_4_hold_tied_embeddings_twice_in_ram() -> None:
    """They make the output before the input, which then does not find it."""
    once, twice = llama_3_2_1b(), replace(llama_3_2_1b(), arch="gemma4")
    matrix = row_bytes("q6_K", 2048) * 128256
    assert weight_bytes_in_ram(twice) == weight_bytes_in_ram(once) + matrix


def test_an_encoder_has_no_output_matrix_to_copy() -> None:
    assert copies_embedding(llama_3_2_1b())
    assert not copies_embedding(replace(llama_3_2_1b(), arch="modern-bert"))
    assert not copies_embedding(llama_3_8b())


def test_rotary_factors_are_copied_to_every_buffer_with_blocks() -> None:
    model = plus(llama_3_8b(), tensor("rope_freqs.weight", 64))
    table = weight_table(model, alignment_bytes=128)
    assert table.rotary_bytes == 256
    output_alone = device_weight_bytes(table, (), holds_output=True)
    assert output_alone == table.output_bytes
    assert device_weight_bytes(table, (3,)) == table.layers[3].dense_bytes + 256


def test_gemma_4_rotates_by_factors_in_blocks_without_a_window_only() -> None:
    model = plus(llama_3_8b(), tensor("rope_freqs.weight", 64))
    windowed = replace(model.layers[0], is_swa=True)
    layers = (windowed,) * 31 + model.layers[31:]
    table = weight_table(replace(model, arch="gemma4", layers=layers))
    assert [layer.rotates for layer in table.layers] == [False] * 31 + [True]


def test_quantised_rows_on_cuda_are_padded_to_512_elements_once_per_tensor() -> None:
    odd = tensor("blk.0.attn_q.weight", 1056, 4, type_="q8_0")
    expected = odd.n_bytes + row_bytes("q8_0", 512 - 1056 % 512)
    size = device_tensor_bytes(odd, alignment_bytes=128, row_padding=512)
    assert 0 <= size - expected < 128
    plain = tensor("blk.0.attn_q.weight", 1056, 4, type_="f16")
    assert device_tensor_bytes(plain, alignment_bytes=128, row_padding=512) == plain.n_bytes


def test_experts_kept_in_ram_leave_the_gpu_with_their_biases() -> None:
    model = plus(mixtral(), tensor("blk.3.ffn_down_exps.bias", 4096, 8))
    memory = MemoryModel(model, (gpu(),), host())
    all_on_gpu = Placement(n_gpu_layers=33, layers_per_device=(33,))
    in_ram = replace(all_on_gpu, host_expert_layers=frozenset(range(8)))
    before, after = memory.breakdown(all_on_gpu, AT_8K), memory.breakdown(in_ram, AT_8K)
    expert_bytes = sum(t.n_bytes for t in model.tensors if "_exps" in t.name and (t.layer or 0) < 8)
    assert before.devices[0].model_bytes - after.devices[0].model_bytes == expert_bytes
    assert after.host.model_bytes - before.host.model_bytes == expert_bytes


def test_a_state_that_cuda_does_not_scan_stays_in_ram() -> None:
    decay = tensor("blk.0.ssm_a", 1, 64)
    model = replace(plus(llama_3_8b(), decay), arch="mamba2", ssm_d_inner=4096, ssm_d_state=64)
    assert stays_in_ram(model, decay, "cuda")
    assert not stays_in_ram(replace(model, ssm_d_state=128), decay, "cuda")
    assert not stays_in_ram(model, decay, "vulkan")
    whole = Placement(n_gpu_layers=33, layers_per_device=(33,))
    memory = MemoryModel(model, (gpu(),), host()).breakdown(whole, AT_8K)
    embedding = next(t for t in model.tensors if t.name == "token_embd.weight")
    assert memory.host.model_bytes == embedding.n_bytes + decay.n_bytes


def test_every_type_has_a_size_on_every_kind_of_device() -> None:
    for type_ in TYPES_BY_NAME.values():
        row = tensor("blk.0.attn_q.weight", type_.block, 3, type_=type_.name)
        size = device_tensor_bytes(row, alignment_bytes=128, row_padding=512)
        assert size % 128 == 0 and size >= row.n_bytes
