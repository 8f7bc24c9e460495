"""Headers of every architecture that llama.cpp 0.3.36 knows, in several variants, without weights.

``scripts/record_hparams.py`` shows them to llama.cpp and records what it reads of each; a test
compares the recording with our ModelSpec.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from tests.support.gguf_writer import (
    BOOL,
    F32,
    I32,
    U32,
    Tensor,
    Value,
    array,
    boolean,
    f32,
    header_bytes,
    pad,
    string,
    u32,
)

ARCHITECTURES = tuple(
    """
    afmoe apertus arcee arctic arwkv7 baichuan bailingmoe bailingmoe2 bailingmoe3 bert bitnet bloom
    chameleon chatglm codeshell cogvlm cohere2 cohere2moe command-r dbrx deci deepseek deepseek2
    deepseek2-ocr deepseek32 deepseek4 dflash dots1 dots3note dream eagle3 ernie4_5 ernie4_5-moe
    eurobert exaone exaone-moe exaone4 falcon falcon-h1 gemma gemma-embedding gemma2 gemma3 gemma3n
    gemma4 gemma4-assistant glm-dsa glm4 glm4moe glm5-next gpt-oss gpt2 gptneox granite
    granite_swa granitehybrid granitemoe graniteswitch grok grovemoe hrm_text hunyuan-dense
    hunyuan-moe hunyuan_vl hy_v3 hy_v4 internlm2 jais jais2 jamba jina-bert-v2 jina-bert-v3 kimi-k3
    kimi-linear laguna lfm2 lfm2moe llada llada-moe llama llama-embed llama4 maincoder mamba mamba2
    maple mellum mimo2 minicpm minicpm3 minimax-01 minimax-m2 minimax-m3 mistral3 mistral4
    modern-bert mpt muse-glimmer nanbeige nemotron nemotron_h nemotron_h_moe neo-bert nomic-bert
    nomic-bert-moe olmo olmo2 olmoe openelm orion paddleocr pangu-embedded phi2 phi3 phimoe plamo
    plamo2 plamo3 plm pockettts qwen qwen2 qwen2moe qwen2vl qwen3 qwen35 qwen35moe qwen3moe
    qwen3next qwen3tts qwen3vl qwen3vlmoe qwen4exp refact rnd1 rwkv6 rwkv6qwen2 rwkv7 seed_oss
    smallthinker smollm3 spark2_5 stablelm starcoder starcoder2 step35 t5 t5encoder talkie
    wavtokenizer-dec xverse
    """.split()  # noqa: SIM905
)
"""``LLM_ARCH_NAMES`` without ``clip`` (projectors) and ``gptj`` (named, never implemented)."""

N_LAYER = 12

_FLOATS = (
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "attention.group_norm_epsilon",
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "attention.scale",
    "attention.output_scale",
    "attention.value_scale",
    "attention.temperature_scale",
    "attention.compress_rope_freq_base",
    "expert_weights_scale",
    "expert_group_scale",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "attn_logit_softcapping",
    "router_logit_softcapping",
    "final_logit_softcapping",
    "hyper_connection.epsilon",
    "hyper_connection.magnitude",
    "activation.situ_beta",
    "activation.situ_linear_beta",
    "rope.freq_base",
    "rope.freq_base_swa",
)
_WHOLE = {
    "attention.decay_lora_rank": 32,
    "attention.gate_lora_rank": 32,
    "attention.group_norm_groups": 4,
    "attention.iclr_lora_rank": 32,
    "attention.indexer.block_size": 64,
    "attention.indexer.head_count": 4,
    "attention.indexer.key_length": 128,
    "attention.indexer.kpool": 4,
    "attention.indexer.local_blocks": 2,
    "attention.indexer.top_k": 64,
    "attention.key_length_mla": 192,
    "attention.key_length_mla_swa": 160,
    "attention.kv_lora_rank": 512,
    "attention.kv_lora_rank_swa": 256,
    "attention.output_group_count": 4,
    "attention.output_lora_rank": 64,
    "attention.q_lora_rank": 96,
    "attention.relative_buckets_count": 32,
    "attention.temperature_length": 1024,
    "attention.value_length_mla": 128,
    "attention.value_length_mla_swa": 96,
    "attention.value_residual_mix_lora_rank": 32,
    "adapters.lora_rank": 16,
    "attn_res.block_size": 4,
    "block_size": 8,
    "context_length": 4096,
    "conv_group_size": 4,
    "conv_kernel_size": 4,
    "convnext.block_count": 2,
    "convnext.embedding_length": 32,
    "embedding_length_per_layer_input": 64,
    "expert_chunk_feed_forward_length": 48,
    "expert_latent_length": 96,
    "expert_shared_count": 2,
    "expert_shared_feed_forward_length": 160,
    "experts_per_group": 2,
    "features_length": 96,
    "hash_layer_count": 2,
    "hrm.h_cycles": 2,
    "hrm.l_cycles": 1,
    "hrm.layers_per_stack": 3,
    "hyper_connection.count": 4,
    "hyper_connection.low_rank": 16,
    "hyper_connection.sinkhorn_iterations": 3,
    "interleave_moe_layer_step": 2,
    "kda.head_dim": 64,
    "leading_dense_block_count": 2,
    "moe_every_n_layers": 2,
    "moe_latent_size": 64,
    "posnet.block_count": 2,
    "posnet.embedding_length": 32,
    "rescale_every_n_layers": 6,
    "selector_rank": 16,
    "selector_top_k": 4,
    "shortconv.l_cache": 3,
    "ssm.conv_kernel": 4,
    "ssm.group_count": 2,
    "ssm.inner_size": 512,
    "ssm.state_size": 64,
    "ssm.time_step_rank": 16,
    "target_hidden_size": 256,
    "time_decay_extra_dim": 32,
    "time_mix_extra_dim": 32,
    "wkv.head_size": 64,
    "dense_2_feat_in": 256,
    "dense_2_feat_out": 256,
    "dense_3_feat_in": 256,
    "dense_3_feat_out": 256,
    "vocab_size": 1000,
}


def common_keys(arch: str) -> dict[str, Value]:
    """Every key that some architecture requires, and the shape that all cases share."""
    n = N_LAYER
    keys = {key: f32(1.0) for key in _FLOATS}
    keys["kda.gate_lower_bound"] = f32(-5.0)
    keys |= {key: u32(value) for key, value in _WHOLE.items()}
    keys |= {
        "block_count": u32(n),
        "embedding_length": u32(256),
        "feed_forward_length": u32(640),
        "attention.head_count": u32(8),
        "attention.head_count_kv": u32(2),
        "expert_feed_forward_length": u32(96),
        "expert_gating_func": u32(4 if arch in ("deepseek4", "dflash") else 2),
        "expert_weights_norm": boolean(True),
        "swiglu_clamp_exp": array(F32, [0.0] * n),
        "swiglu_clamp_shexp": array(F32, [0.0] * n),
        "rope.dimension_sections": array(I32, [4, 4, 4, 4]),
        "attention.compress_ratios": array(I32, [0] * n),
        "attention.indexer.types": array(I32, [1] * n),
        "norm_before_residual": boolean(False),
        "norm_before_fc": boolean(False),
        "use_parallel_residual": boolean(True),
        "swin_norm": boolean(True),
        "adapters.count": u32(1),
        "adapters.token_ids_activate": array(I32, [5]),
        "adapters.token_ids_substitute": array(I32, [6]),
        "target_layers": array(I32, [1, 2, 3]),
        "hidden_activation": string("silu"),
    }
    return keys


def _of_main_blocks(arch: str, n_main: int) -> dict[str, Value]:
    """Lists that must be as long as the model is without its MTP blocks."""
    if arch == "apertus":
        names = ("alpha_n", "alpha_p", "beta", "eps")
        return {f"!xielu.{name}": array(F32, [0.5] * n_main) for name in names}
    if arch in ("glm-dsa", "glm5-next", "hy_v4"):
        return {"attention.indexer.types": array(I32, [1] * n_main)}
    return {}


def plain(arch: str) -> dict[str, Value]:
    """One number for every block; a window, but no pattern of windows."""
    keys = common_keys(arch) | {"attention.sliding_window": u32(512)}
    return keys | _of_main_blocks(arch, N_LAYER)


def sizes(arch: str) -> dict[str, Value]:
    """Head sizes of their own, a listed pattern, experts, an MTP block, keys of every kind."""
    n = N_LAYER
    flags = [i % 3 != 1 for i in range(n)]
    n_nextn = 0 if arch == "hrm_text" else 1
    keys = common_keys(arch) | {
        "attention.key_length": u32(48),
        "attention.value_length": u32(40),
        "attention.key_length_swa": u32(32),
        "attention.value_length_swa": u32(24),
        "rope.dimension_count": u32(48),
        "rope.dimension_count_swa": u32(16),
        "attention.sliding_window": u32(256),
        "attention.sliding_window_pattern": array(BOOL, flags),
        "attention.shared_kv_layers": u32(4),
        "attention.causal": boolean(True),
        "expert_count": u32(16),
        "expert_used_count": u32(4),
        "nextn_predict_layers": u32(n_nextn),
        "embedding_length_out": u32(320),
        "token_shift_count": u32(1),
        "num_loops": u32(2),
    }
    return keys | _of_main_blocks(arch, n - n_nextn)


def layered(arch: str) -> dict[str, Value]:
    """Lists with one number per block: some without KV heads, some without a feed-forward net."""
    n = N_LAYER
    n_nextn = 0 if arch == "hrm_text" else 2
    keys = common_keys(arch) | {
        "attention.head_count": array(U32, [8 if i % 4 == 0 else 4 for i in range(n)]),
        "attention.head_count_kv": array(I32, [0 if i % 3 == 1 else 2 for i in range(n)]),
        "feed_forward_length": array(I32, [0 if i % 3 else 640 for i in range(n)]),
        "attention.sliding_window": u32(128),
        "attention.sliding_window_pattern": u32(3),
        "full_attention_interval": u32(3),
        "nextn_predict_layers": u32(n_nextn),
        "expert_count": u32(8),
        "expert_used_count": array(I32, [2 if i % 2 else 3 for i in range(n)]),
        "expert_feed_forward_length": array(I32, [96 + i for i in range(n)]),
    }
    return keys | _of_main_blocks(arch, n - n_nextn)


def windowless(arch: str) -> dict[str, Value]:
    """A window of 0, first blocks without heads, states listed block by block."""
    n = N_LAYER
    keys = common_keys(arch) | {
        "attention.head_count": array(I32, [0 if i < 2 else 8 for i in range(n)]),
        "attention.head_count_kv": array(I32, [0 if i < 2 else 8 for i in range(n)]),
        "attention.key_length": u32(64),
        "attention.value_length": u32(64),
        "attention.sliding_window": u32(0),
        "attention.sliding_window_pattern": array(U32, [1] * (n // 2)),
        "attention.recurrent_layers": array(BOOL, [i % 2 == 0 for i in range(n)]),
        "attention.key_length_swa": u32(32),
        "attention.value_length_swa": u32(32),
        "expert_shared_count": u32(1),
    }
    if arch == "dflash":  # the drafter of a model without hyper-connections
        keys["hyper_connection.count"] = u32(0)
    return keys | _of_main_blocks(arch, n)


def bare(arch: str) -> dict[str, Value]:
    """64 blocks and none of the optional keys about windows, heads and experts."""
    keys = common_keys(arch) | {"block_count": u32(64), "feed_forward_length": u32(640)}
    for key in ("attention.head_count_kv", "swiglu_clamp_shexp"):
        del keys[key]
    keys["swiglu_clamp_exp"] = f32(0.0)
    keys["attention.compress_ratios"] = array(I32, [0] * 64)
    keys["attention.indexer.types"] = array(I32, [1] * 64)
    return keys | _of_main_blocks(arch, 64)


VARIANTS: dict[str, Callable[[str], dict[str, Value]]] = {
    "plain": plain,
    "sizes": sizes,
    "layered": layered,
    "windowless": windowless,
    "bare": bare,
}


def case_header(arch: str, variant: str) -> bytes:
    """A whole file: the header of a case and one tensor of four bytes."""
    keys = {"general.architecture": string(arch), "tokenizer.ggml.model": string("no_vocab")}
    for key, value in VARIANTS[variant](arch).items():
        keys[key[1:] if key.startswith("!") else f"{arch}.{key}"] = value
    header = header_bytes(keys, [Tensor("token_embd.weight", "f32", (1,))])
    return header.ljust(pad(len(header), 32) + 32, b"\0")


def cases() -> Iterator[tuple[str, str]]:
    """Every architecture in every variant."""
    for arch in ARCHITECTURES:
        for variant in VARIANTS:
            yield arch, variant


def digest() -> str:
    """Changes when any case does: the recording must then be made again."""
    whole = hashlib.sha256()
    for arch, variant in cases():
        whole.update(case_header(arch, variant))
    return whole.hexdigest()
