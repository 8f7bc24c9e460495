"""The KV cache and the recurrent state of one block, by hand arithmetic.

``tests/engine/test_differential.py`` holds the same functions to llama.cpp for every architecture.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.cache import cache_refusal, cache_tensors, kv_cells, kv_layer_bytes
from localllm.core.ggml import row_bytes
from localllm.core.memory import RunShape
from localllm.core.model import ModelSpec
from localllm.core.recurrent import n_embd_r, n_embd_s
from localllm.units import GiB
from tests.support.specs import llama_3_8b

AT_8K = RunShape(n_ctx=8192, n_ubatch=512)


def with_blocks(**changes: object) -> ModelSpec:
    """Llama 3 8B with something else in each of its blocks."""
    model = llama_3_8b()
    return replace(model, layers=(replace(model.layers[0], **changes),) * 32)  # type: ignore[arg-type]


def latent() -> ModelSpec:
    """DeepSeek's cache: one row of 512 + 64 numbers for all heads together."""
    return replace(
        with_blocks(n_head_kv=1),
        n_embd_head_k=576,
        n_embd_head_v=512,
        n_embd_head_k_mla=192,
        n_embd_head_v_mla=128,
    )


def test_llama_3_8b_keeps_one_gib_of_f16_cache_at_8k() -> None:
    model = llama_3_8b()
    total = sum(kv_layer_bytes(model, i, AT_8K) for i in range(model.n_layer))
    assert total == 32 * 8192 * (8 * 128 * 2 + 8 * 128 * 2) == 1 * GiB


@pytest.mark.parametrize(
    ("type_", "bytes_of_32"),
    [("f32", 128), ("bf16", 64), ("q8_0", 34), ("q5_1", 24), ("q4_1", 20), ("iq4_nl", 18)],
)
def test_a_cache_takes_what_its_type_takes(type_: str, bytes_of_32: int) -> None:
    shape = replace(AT_8K, type_k=type_, type_v=type_)
    assert kv_layer_bytes(llama_3_8b(), 0, shape) == 8192 * 2 * (8 * 128) // 32 * bytes_of_32


def test_a_sliding_window_keeps_the_window_and_one_batch() -> None:
    swa = replace(with_blocks(is_swa=True), swa_type="standard", n_swa=1024)
    # PAD(min(8192, 1024 + 512), 256) = 1536 cells
    assert kv_layer_bytes(swa, 0, AT_8K) == 1536 * (8 * 128 * 2) * 2
    assert kv_cells(swa, 0, replace(AT_8K, n_ctx=1000)) == 1024
    assert kv_cells(swa, 0, replace(AT_8K, n_seq=3)) == 3 * 1536


def test_window_blocks_may_have_heads_of_their_own_size() -> None:
    swa = replace(
        with_blocks(is_swa=True, n_head_kv=2),
        swa_type="standard",
        n_swa=512,
        n_embd_head_k_swa=64,
        n_embd_head_v_swa=32,
    )
    assert kv_layer_bytes(swa, 0, AT_8K) == 1024 * (2 * 64 + 2 * 32) * 2


def test_without_flash_attention_v_rows_are_as_wide_as_the_widest_layers() -> None:
    model = llama_3_8b()
    narrow = replace(model.layers[0], n_head_kv=4)
    mixed = replace(model, layers=(narrow, *model.layers[1:]))
    shape = replace(AT_8K, flash_attn=False)
    assert kv_layer_bytes(mixed, 0, shape) == 8192 * (4 * 128 * 2 + 8 * 128 * 2)
    assert kv_layer_bytes(mixed, 0, AT_8K) == 8192 * (4 * 128 * 2 + 4 * 128 * 2)


def test_grok_never_runs_with_flash_attention() -> None:
    grok = replace(llama_3_8b(), arch="grok")
    grok = replace(grok, layers=(replace(grok.layers[0], n_head_kv=4), *grok.layers[1:]))
    assert kv_layer_bytes(grok, 0, AT_8K) == 8192 * (4 * 128 * 2 + 8 * 128 * 2)


def test_latent_attention_keeps_one_row_and_no_v() -> None:
    assert kv_layer_bytes(latent(), 0, AT_8K) == 8192 * 576 * 2


def test_cuda_pads_the_last_row_of_a_quantised_cache_to_512_elements() -> None:
    shape = replace(AT_8K, type_k="q8_0", type_v="q8_0")
    plain = kv_layer_bytes(latent(), 0, shape)
    cuda = kv_layer_bytes(latent(), 0, shape, alignment_bytes=128, row_padding=512)
    assert plain == 8192 * row_bytes("q8_0", 576)
    assert 0 <= cuda - plain - row_bytes("q8_0", 1024 - 576) < 128


def test_an_indexer_adds_one_head_of_keys() -> None:
    dsa = replace(latent(), indexer_head_size=128)
    dsa = replace(dsa, layers=(replace(dsa.layers[0], has_indexer=True), *dsa.layers[1:]))
    assert kv_layer_bytes(dsa, 0, AT_8K) == 8192 * (576 + 128) * 2
    assert kv_layer_bytes(dsa, 1, AT_8K) == 8192 * 576 * 2
    pooled = replace(dsa, indexer_kpool=4)
    assert kv_layer_bytes(pooled, 0, AT_8K) == 8192 * (576 + 3 * 128) * 2


def test_an_indexer_beside_ordinary_attention_has_a_v_that_nothing_reads() -> None:
    msa = replace(with_blocks(has_indexer=True), arch="minimax-m3", indexer_head_size=64)
    assert kv_layer_bytes(msa, 0, AT_8K) == 8192 * (2 * 1024 + 64 + 128) * 2


def test_deepseek_4_compresses_four_tokens_into_one_cell() -> None:
    model = replace(
        with_blocks(n_head_kv=1, is_swa=True, compress_ratio=4),
        arch="deepseek4",
        swa_type="standard",
        n_swa=128,
        n_embd_head_k=512,
        n_embd_head_v=512,
        indexer_head_size=128,
    )
    window, compressed = 768 * 512 * 2, 2048 * (512 + 128) * 2
    states = 2 * 8 * (2 * 512) * 4 + 2 * 8 * (2 * 128) * 4
    assert kv_layer_bytes(model, 0, AT_8K) == window + compressed + states
    mtp = replace(model, n_layer_nextn=1)
    assert kv_layer_bytes(mtp, 31, AT_8K) == window + compressed  # its state is not kept


def test_a_block_without_a_cache_takes_nothing() -> None:
    assert kv_layer_bytes(with_blocks(has_kv=False), 0, AT_8K) == 0


def test_a_state_does_not_grow_with_the_context_but_with_the_sequences() -> None:
    mamba = replace(
        with_blocks(is_recurrent=True, has_kv=False, n_head=0, n_head_kv=0),
        ssm_d_conv=4,
        ssm_d_inner=5120,
        ssm_d_state=128,
        ssm_n_group=1,
    )
    one = 4 * (3 * (5120 + 2 * 128) + 128 * 5120)
    assert kv_layer_bytes(mamba, 0, AT_8K) == one
    assert kv_layer_bytes(mamba, 0, replace(AT_8K, n_ctx=131_072)) == one
    assert kv_layer_bytes(mamba, 0, replace(AT_8K, n_seq=4)) == 4 * one


def test_a_block_may_have_a_state_beside_its_cache() -> None:
    model = replace(with_blocks(is_recurrent=True), ssm_d_conv=4, ssm_d_inner=512, ssm_d_state=64)
    assert len(cache_tensors(model, 0, AT_8K)) == 4
    assert kv_layer_bytes(model, 0, AT_8K) == 8192 * 2048 * 2 + 4 * (3 * 512 + 64 * 512)


def test_each_kind_of_recurrent_block_has_rows_of_its_own_width() -> None:
    model = with_blocks(is_recurrent=True, n_head=32)
    short = replace(model, n_shortconv_l_cache=3)
    rwkv = replace(model, wkv_head_size=64, token_shift_count=2)
    delta = replace(model, n_embd_head_kda=128, ssm_d_conv=4)
    lightning = replace(model, n_embd_head_la=128)
    assert (n_embd_r(short), n_embd_s(short)) == (2 * 4096, 0)
    assert (n_embd_r(rwkv), n_embd_s(rwkv)) == (2 * 4096, 64 * 4096)
    assert (n_embd_r(delta), n_embd_s(delta)) == (3 * 3 * 32 * 128, 128 * 128 * 32)
    assert (n_embd_r(lightning), n_embd_s(lightning)) == (0, 128 * 128 * 32)


@pytest.mark.parametrize(
    ("model", "shape", "reason"),
    [
        (latent(), replace(AT_8K, type_k="q8_0"), "must be the same"),
        (llama_3_8b(), replace(AT_8K, type_v="q8_0", flash_attn=False), "needs flash attention"),
        (replace(llama_3_8b(), arch="grok"), replace(AT_8K, type_v="q4_0"), "flash attention"),
        (replace(llama_3_8b(), n_embd_head_k=80), replace(AT_8K, type_k="q4_0"), "80 elements"),
        (replace(llama_3_8b(), n_embd_head_v=80), replace(AT_8K, type_v="q4_0"), "80 elements"),
    ],
)
def test_a_cache_that_llama_cpp_refuses_is_refused_with_its_reason(
    model: ModelSpec, shape: RunShape, reason: str
) -> None:
    refusal = cache_refusal(model, shape)
    assert refusal is not None and reason in refusal


def test_without_flash_attention_whole_rows_are_enough_for_a_quantised_k() -> None:
    model = replace(llama_3_8b(), n_embd_head_k=80)
    assert cache_refusal(model, replace(AT_8K, type_k="q8_0", flash_attn=False)) is None
    assert cache_refusal(llama_3_8b(), AT_8K) is None
