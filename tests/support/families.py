"""One small model of every architecture that llama.cpp 0.3.36 loads and runs by itself.

The hyperparameters are here, and the tensors are those that llama.cpp asks for (``virtual.py``):
six blocks 256 wide, with windows, states, experts and MTP blocks wherever the architecture can have
them. Types differ from tensor to tensor, so that no two rows are padded alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from localllm.core.ggml import TYPES_BY_NAME
from tests.support.gguf_writer import (
    BOOL,
    F32,
    I32,
    Tensor,
    Value,
    array,
    f32,
    header_bytes,
    pad,
    string,
    u32,
    write_gguf,
)
from tests.support.hparam_cases import ARCHITECTURES, common_keys
from tests.support.virtual import Table, tables

N_LAYER = 6
N_EMBD = 256
N_VOCAB = 1000

LEFT_OUT = {
    "dflash": "a drafter: it needs its target's context",
    "eagle3": "a drafter: it needs its target's context",
    "gemma4-assistant": "a drafter: it needs its target's context",
    "plm": "this llama.cpp aborts over its graph whatever the shape",
    "qwen3tts": "its output is narrower than its vocabulary, which a table made of nothing is not",
    "rwkv6qwen2": "this llama.cpp crashes over its graph",
    "t5": "encoder and decoder: the engine refuses it",
}
FAMILIES = tuple(arch for arch in ARCHITECTURES if arch not in LEFT_OUT)

_WITH_MTP = frozenset(
    {
        *("bailingmoe2", "bailingmoe3", "cohere2moe", "deepseek2"),
        *("deepseek32", "deepseek4", "dots3note", "exaone-moe"),
        *("exaone4", "glm-dsa", "glm4", "glm4moe"),
        *("glm5-next", "hy_v3", "mimo2", "nemotron_h_moe"),
        *("qwen35", "qwen35moe", "qwen3next", "step35"),
    }
)
NO_MTP_TABLE = frozenset({"bailingmoe2", "dots3note", "exaone-moe", "exaone4", "glm4"})
"""llama.cpp skips their MTP block without a switch, and so cannot make its table."""
_STATES_BY_KV_HEADS = frozenset({"granitehybrid", "jamba", "lfm2", "lfm2moe", "plamo2"})

_TOKEN_TYPES = {"!tokenizer.ggml.token_type_count": u32(2)}
_LATENT = {
    "attention.head_count_kv": u32(1),
    "attention.key_length": u32(512 + 64),
    "attention.value_length": u32(512),
    "rope.dimension_count": u32(64),
}
_EVERY_HEAD = {"attention.head_count_kv": u32(8)}
_WIDE_STATE = {"ssm.inner_size": u32(1024)}


def _kv_heads(*n: int) -> dict[str, Value]:
    return {"attention.head_count_kv": array(I32, n)}


_NEMOTRON = _kv_heads(0, 2, 0, 0, 2, 2) | {
    "feed_forward_length": array(I32, [0, 0, 640, 0, 0, 0]),
    "attention.head_count": u32(8),
}
"""A state, attention, or a feed-forward network: one of them in each block."""


_OWN: dict[str, Mapping[str, Value]] = {
    "arwkv7": {"token_shift_count": u32(1)},
    "bailingmoe3": _LATENT | _kv_heads(0, 1, 0, 0, 1, 1),
    "bert": _TOKEN_TYPES,
    "chameleon": {"vocab_size": u32(65_536)},
    "deepseek2": _LATENT,
    "deepseek2-ocr": _EVERY_HEAD | {"rope.freq_base": f32(10_000.0)},
    "deepseek32": _LATENT,
    "deepseek4": {
        "attention.head_count_kv": u32(1),
        "attention.key_length": u32(64),
        "attention.value_length": u32(64),
        "rope.dimension_count": u32(32),
        "attention.compress_ratios": array(I32, [0, 4, 128, 4, 128, 0]),
    },
    "dots1": _EVERY_HEAD,
    "dots3note": _LATENT
    | {
        "attention.key_length_swa": u32(256 + 64),
        "attention.value_length_swa": u32(256),
        "rope.dimension_count_swa": u32(64),
        "leading_dense_block_count": u32(1),
        "attention.indexer.types": array(I32, [0, 1, 0, 0, 1, 0]),
    },
    "gemma4": {
        "attention.key_length": u32(64),
        "attention.value_length": u32(64),
        "attention.key_length_swa": u32(32),
        "attention.value_length_swa": u32(32),
        "attention.shared_kv_layers": u32(2),
        "attention.sliding_window_pattern": array(BOOL, [True, True, True, False, True, False]),
    },
    "glm-dsa": _LATENT | {"attention.indexer.types": array(I32, [1, 0, 1, 1, 0])},
    "glm5-next": _LATENT
    | _kv_heads(0, 1, 1, 0, 1, 1)
    | {
        "attention.key_length": u32(512),
        "rope.dimension_count": u32(0),
        "attention.indexer.types": array(I32, [1, 1, 0, 1, 1]),
    },
    "hrm_text": {"block_count": u32(12)},
    "hy_v4": _LATENT | {"attention.indexer.types": array(I32, [1, 0, 1, 1, 0, 1])},
    "jina-bert-v2": _TOKEN_TYPES | _EVERY_HEAD,
    "jina-bert-v3": _TOKEN_TYPES,
    "kimi-k3": _LATENT | _kv_heads(0, 1, 0, 0, 1, 0),
    "kimi-linear": _LATENT | _kv_heads(0, 1, 0, 0, 1, 0),
    "minicpm3": _EVERY_HEAD
    | {
        "attention.key_length": u32(96),
        "attention.value_length": u32(64),
        "rope.dimension_count": u32(32),
    },
    "minimax-m3": {"attention.indexer.head_count": u32(2)},
    "mistral4": _LATENT,
    "nemotron_h": _NEMOTRON,
    "nemotron_h_moe": _NEMOTRON,
    "nomic-bert": _TOKEN_TYPES,
    "nomic-bert-moe": _TOKEN_TYPES,
    "olmoe": _EVERY_HEAD,
    "plamo2": {"ssm.group_count": u32(0)},
    "qwen35": _WIDE_STATE,
    "qwen35moe": _WIDE_STATE,
    "qwen3next": _WIDE_STATE,
    "qwen4exp": _WIDE_STATE,
    "rwkv6": {"attention.head_count": u32(0), "attention.head_count_kv": u32(0)},
    "t5encoder": _EVERY_HEAD,
}


def metadata(arch: str, *, mtp: bool = True, n_layer: int = N_LAYER) -> dict[str, Value]:
    """The whole header of one architecture's model; ``mtp`` False: as if it had no MTP block."""
    n = n_layer
    keys = common_keys(arch) | {
        "block_count": u32(n),
        "swiglu_clamp_exp": array(F32, [0.0] * n),
        "swiglu_clamp_shexp": array(F32, [0.0] * n),
        "attention.compress_ratios": array(I32, [0] * n),
        "attention.indexer.types": array(I32, [1] * n),
        "expert_count": u32(8),
        "expert_used_count": u32(2),
        "attention.sliding_window": u32(300),
        "attention.sliding_window_pattern": array(BOOL, [i % 3 != 1 for i in range(n)]),
        "full_attention_interval": u32(3),
    }
    if arch == "apertus":
        for name in ("alpha_n", "alpha_p", "beta", "eps"):
            keys[f"!xielu.{name}"] = array(F32, [0.5] * n)
    if arch in _WITH_MTP and mtp:
        keys["nextn_predict_layers"] = u32(1)
    if arch in _STATES_BY_KV_HEADS:
        keys |= _kv_heads(0, 2, 0, 0, 2, 0)
    keys |= _OWN.get(arch, {})
    header = {"general.architecture": string(arch), "tokenizer.ggml.model": string("no_vocab")}
    for key, value in keys.items():
        header[key[1:] if key.startswith("!") else f"{arch}.{key}"] = value
    return header


def write_families(
    folder: Path, architectures: tuple[str, ...] = FAMILIES, *, tied: bool = False
) -> dict[str, Path]:
    """Write hollow model files; returns their paths by architecture.

    ``tied`` leaves the output matrix out, which not every architecture can do without.
    """
    found = _tables(architectures)
    paths = {}
    for arch in architectures:
        tensors = _tensors(arch, found[arch])
        if tied:
            tensors = [t for t in tensors if not t.name.startswith("output.")]
        paths[arch] = write_gguf(folder / f"{arch}.gguf", metadata(arch), tensors)
    return paths


@cache
def _tables(architectures: tuple[str, ...]) -> dict[str, Table]:
    """llama.cpp's tables for our hyperparameters; asking for all of them takes seconds."""
    with TemporaryDirectory() as folder:
        bare = []
        for arch in architectures:
            keys = metadata(arch, mtp=arch not in NO_MTP_TABLE)
            header = header_bytes(keys, [Tensor("token_embd.weight", "f32", (1,))])
            bare.append(Path(folder, f"{arch}.gguf"))
            bare[-1].write_bytes(header.ljust(pad(len(header), 32) + 32, b"\0"))
        return tables(bare)


def _tensors(arch: str, table: Table) -> list[Tensor]:
    names: dict[str, Tensor] = {}
    for index, (name, shape) in enumerate(table):
        if not may_be_missing(arch, name):
            names[name] = Tensor(name, _type(name, shape, index), shape)
    if arch not in NO_MTP_TABLE:
        return list(names.values())
    last = f"blk.{N_LAYER - 1}."
    if arch in ("exaone-moe", "dots3note"):  # the MTP block is dense, like the first one
        first = [t for t in names.values() if t.name.startswith("blk.0.")]
        names = {name: t for name, t in names.items() if not name.startswith(last)}
        names |= {(n := last + t.name[6:]): Tensor(n, t.type, t.shape) for t in first}
    extra = [
        Tensor(f"{last}nextn.eh_proj.weight", "q8_0", (2 * N_EMBD, N_EMBD)),
        Tensor(f"{last}nextn.enorm.weight", "f32", (N_EMBD,)),
        Tensor(f"{last}nextn.hnorm.weight", "f32", (N_EMBD,)),
        Tensor(f"{last}nextn.shared_head_norm.weight", "f32", (N_EMBD,)),
    ]
    if arch != "exaone4":
        extra.append(Tensor(f"{last}nextn.embed_tokens.weight", "q4_K", (N_EMBD, N_VOCAB)))
    if arch == "bailingmoe2":
        extra.append(Tensor(f"{last}layer_output_norm.weight", "f32", (N_EMBD,)))
    return [*names.values(), *extra]


def may_be_missing(arch: str, name: str) -> bool:
    """Tensors that real files do without, and that llama.cpp could not load with the rest."""
    if name.startswith("rope_factors") or (arch == "exaone-moe" and name.startswith("rope")):
        return True
    scale = name.endswith(".scale") or name.endswith(".input_scale")
    return scale and not (arch == "gemma4" and "ffn_gate_inp" in name)


_TYPES = ("q4_K", "q6_K", "q8_0", "q4_0", "q5_1", "f16", "iq4_nl", "bf16")
_KEPT_IN_F32 = (
    *("_norm", "norm_", "rel_b", "_ape", "conv", "time_mix_lerp", "time_mix_first", "ssm_a"),
    *("time_mix_decay.", "time_mix_w0", "time_mix_a0", "time_mix_v0", "_k_k", "_r_k", "_k_a"),
    *("channel_mix_lerp", "time_mix_ln", "hc_", "res_score", "position_embd", "token_types"),
    *("ffn_gate_inp", "posnet", "gamma", ".dw", "correct_scale", "attn_sinks", "ffn.act"),
)


def is_kept_in_f32(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is too small, or too delicate, to be quantised."""
    small = len(shape) < 2 or not name.endswith(".weight")
    return small or any(part in name for part in _KEPT_IN_F32)


def _type(name: str, shape: tuple[int, ...], index: int) -> str:
    if "tid2eid" in name:
        return "i32"
    if is_kept_in_f32(name, shape):
        return "f32"
    for type_ in (*_TYPES[index % len(_TYPES) :], *_TYPES):
        if shape[0] % TYPES_BY_NAME[type_].block == 0:
            return type_
    raise AssertionError(name)
