"""Shapes of models: the hyperparameters of well-known ones, and of toys, with their tensor tables.

Figures come from the ``config.json`` files that the models were published with; the tensor names
and shapes are those that llama.cpp asks for (``src/models/*.cpp``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tests.support.blocks import LFM2_ATTENTION, block
from tests.support.gguf_vocab import vocabulary
from tests.support.gguf_writer import I32, Tensor, Value, array, f32, string, u32
from tests.support.quant_mix import FILE_TYPE_IDS, Mix, quantised


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A transformer decoder. What is 0 or False is not there."""

    name: str
    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    n_vocab: int
    arch: str = "llama"
    head_dim: int = 0
    """0: ``n_embd / n_head``."""
    n_ctx_train: int = 8192
    tied: bool = False
    rope_freq_base: float = 10_000.0
    rope_freqs: bool = False
    """The file holds Llama 3.1's table of rotary factors."""
    n_expert: int = 0
    n_expert_used: int = 0
    n_ff_exp: int = 0
    n_swa: int = 0
    qk_norm: bool = False
    post_norm: bool = False
    vocab: str = "llama-3"
    """A style of ``gguf_vocab.STYLES``, or ``none``."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Sizes that only this architecture has, by llama.cpp's names; see ``blocks.py``."""
    extra: Mapping[str, Value] = field(default_factory=dict)
    """More metadata; keys that start with ``.`` get the architecture in front."""

    @property
    def n_embd_head(self) -> int:
        return self.head_dim or self.n_embd // self.n_head

    def without_vocabulary(self) -> Shape:
        """The same weights without tokenizer: loads in a few milliseconds."""
        return replace(self, vocab="none")


def metadata(shape: Shape, quant: str) -> dict[str, Value]:
    """Every key of the header."""
    arch = shape.arch
    keys = {
        "general.architecture": string(arch),
        "general.type": string("model"),
        "general.name": string(shape.name),
        "general.file_type": u32(FILE_TYPE_IDS[quant]),
        "general.quantization_version": u32(2),
        f"{arch}.block_count": u32(shape.n_layer),
        f"{arch}.context_length": u32(shape.n_ctx_train),
        f"{arch}.embedding_length": u32(shape.n_embd),
        f"{arch}.feed_forward_length": u32(shape.n_ff),
        f"{arch}.attention.head_count": u32(shape.n_head),
        f"{arch}.attention.head_count_kv": u32(shape.n_head_kv),
        f"{arch}.attention.layer_norm_rms_epsilon": f32(1e-5),
        f"{arch}.rope.freq_base": f32(shape.rope_freq_base),
        f"{arch}.rope.dimension_count": u32(shape.n_embd_head),
        f"{arch}.vocab_size": u32(shape.n_vocab),
    }
    if shape.head_dim:
        keys[f"{arch}.attention.key_length"] = u32(shape.head_dim)
        keys[f"{arch}.attention.value_length"] = u32(shape.head_dim)
    if shape.n_expert:
        keys[f"{arch}.expert_count"] = u32(shape.n_expert)
        keys[f"{arch}.expert_used_count"] = u32(shape.n_expert_used)
    if shape.n_ff_exp:
        keys[f"{arch}.expert_feed_forward_length"] = u32(shape.n_ff_exp)
    if shape.n_swa:
        keys[f"{arch}.attention.sliding_window"] = u32(shape.n_swa)
    keys |= {f"{arch}.{key}": u32(value) for key, value in shape.sizes.items()}
    keys |= vocabulary(shape.vocab, shape.n_vocab)
    for key, value in shape.extra.items():
        keys[arch + key if key.startswith(".") else key] = value
    return keys


def tensors(shape: Shape, quant: str) -> list[Tensor]:
    """The tensor table in the order of the file, with the types of the quantisation."""
    plain = [Tensor("token_embd.weight", "f32", (shape.n_embd, shape.n_vocab))]
    if shape.rope_freqs:
        plain.append(Tensor("rope_freqs.weight", "f32", (shape.n_embd_head // 2,)))
    for layer in range(shape.n_layer):
        plain += [
            Tensor(f"blk.{layer}.{name}", "f32", dims) for name, dims in block(shape, layer).items()
        ]
    norm = "token_embd_norm" if shape.arch == "lfm2" else "output_norm"
    plain.append(Tensor(f"{norm}.weight", "f32", (shape.n_embd,)))
    if not shape.tied:
        plain.append(Tensor("output.weight", "f32", (shape.n_embd, shape.n_vocab)))
    mix = Mix(
        quant=quant,
        n_layer=shape.n_layer,
        n_gqa=shape.n_head // max(shape.n_head_kv, 1),
        n_expert=shape.n_expert,
        is_70b=shape.arch == "llama" and shape.n_layer == 80 and shape.n_head > shape.n_head_kv,
    )
    return quantised(plain, mix)


LLAMA_3_8B = Shape(
    name="Llama 3 8B Shape",
    n_layer=32,
    n_embd=4096,
    n_ff=14336,
    n_head=32,
    n_head_kv=8,
    n_vocab=128_256,
    rope_freq_base=500_000.0,
)
LLAMA_3_70B = replace(
    LLAMA_3_8B, name="Llama 3 70B Shape", n_layer=80, n_embd=8192, n_ff=28672, n_head=64
)
LLAMA_31_8B = replace(LLAMA_3_8B, name="Llama 3.1 8B Shape", n_ctx_train=131_072, rope_freqs=True)
LLAMA_31_70B = replace(
    LLAMA_3_70B, name="Llama 3.1 70B Shape", n_ctx_train=131_072, rope_freqs=True
)
LLAMA_31_405B = replace(
    LLAMA_31_8B, name="Llama 3.1 405B Shape", n_layer=126, n_embd=16384, n_ff=53248, n_head=128
)
LLAMA_32_1B = replace(
    LLAMA_31_8B,
    name="Llama 3.2 1B Shape",
    n_layer=16,
    n_embd=2048,
    n_ff=8192,
    tied=True,
    head_dim=64,
)
LLAMA_32_3B = replace(
    LLAMA_31_8B,
    name="Llama 3.2 3B Shape",
    n_layer=28,
    n_embd=3072,
    n_ff=8192,
    n_head=24,
    tied=True,
    head_dim=128,
)
MIXTRAL_8X7B = replace(
    LLAMA_3_8B,
    name="Mixtral 8x7B Shape",
    n_vocab=32_000,
    n_ctx_train=32_768,
    rope_freq_base=1_000_000.0,
    n_expert=8,
    n_expert_used=2,
    vocab="spm",
)
MIXTRAL_8X22B = replace(
    MIXTRAL_8X7B, name="Mixtral 8x22B Shape", n_layer=56, n_embd=6144, n_ff=16384, n_head=48
)
QWEN3_0_6B = Shape(
    name="Qwen3 0.6B Shape",
    arch="qwen3",
    n_layer=28,
    n_embd=1024,
    n_ff=3072,
    n_head=16,
    n_head_kv=8,
    head_dim=128,
    n_vocab=151_936,
    n_ctx_train=40_960,
    tied=True,
    rope_freq_base=1_000_000.0,
    qk_norm=True,
    vocab="chatml",
)
QWEN3_8B = replace(
    QWEN3_0_6B,
    name="Qwen3 8B Shape",
    n_layer=36,
    n_embd=4096,
    n_ff=12288,
    n_head=32,
    tied=False,
)
QWEN3_32B = replace(
    QWEN3_8B, name="Qwen3 32B Shape", n_layer=64, n_embd=5120, n_ff=25600, n_head=64
)
QWEN3_30B_A3B = replace(
    QWEN3_8B,
    name="Qwen3 30B A3B Shape",
    arch="qwen3moe",
    n_layer=48,
    n_embd=2048,
    n_ff=6144,
    n_head_kv=4,
    n_expert=128,
    n_expert_used=8,
    n_ff_exp=768,
)
GEMMA_3_4B = Shape(
    name="Gemma 3 4B Shape",
    arch="gemma3",
    n_layer=34,
    n_embd=2560,
    n_ff=10240,
    n_head=8,
    n_head_kv=4,
    head_dim=256,
    n_vocab=262_144,
    n_ctx_train=131_072,
    tied=True,
    rope_freq_base=1_000_000.0,
    n_swa=1024,
    qk_norm=True,
    post_norm=True,
    vocab="gemma",
)
GEMMA_3_27B = replace(
    GEMMA_3_4B,
    name="Gemma 3 27B Shape",
    n_layer=62,
    n_embd=5376,
    n_ff=21504,
    n_head=32,
    n_head_kv=16,
    head_dim=128,
)
GPT_OSS_20B = Shape(
    name="gpt-oss 20B Shape",
    arch="gpt-oss",
    n_layer=24,
    n_embd=2880,
    n_ff=2880,
    n_head=64,
    n_head_kv=8,
    head_dim=64,
    n_vocab=201_088,
    n_ctx_train=131_072,
    rope_freq_base=150_000.0,
    n_expert=32,
    n_expert_used=4,
    n_ff_exp=2880,
    n_swa=128,
    vocab="harmony",
)
GPT_OSS_120B = replace(GPT_OSS_20B, name="gpt-oss 120B Shape", n_layer=36, n_expert=128)

DEEPSEEK_V2_LITE = Shape(
    name="DeepSeek V2 Lite Shape",
    arch="deepseek2",
    n_layer=27,
    n_embd=2048,
    n_ff=10944,
    n_head=16,
    n_head_kv=1,
    head_dim=64,
    n_vocab=102_400,
    n_ctx_train=163_840,
    n_expert=64,
    n_expert_used=6,
    n_ff_exp=1408,
    sizes={
        "attention.kv_lora_rank": 512,
        "attention.key_length": 576,
        "attention.value_length": 512,
        "attention.key_length_mla": 192,
        "attention.value_length_mla": 128,
        "leading_dense_block_count": 1,
        "expert_shared_count": 2,
    },
)
"""Latent attention: the cache holds 576 numbers a token and block, for all heads together."""
LFM2_1_2B = Shape(
    name="LFM2 1.2B Shape",
    arch="lfm2",
    n_layer=16,
    n_embd=2048,
    n_ff=8192,
    n_head=32,
    n_head_kv=8,
    n_vocab=65_536,
    n_ctx_train=128_000,
    tied=True,
    rope_freq_base=1_000_000.0,
    qk_norm=True,
    vocab="chatml",
    sizes={"shortconv.l_cache": 3},
    extra={".attention.head_count_kv": array(I32, [8 * (i in LFM2_ATTENTION) for i in range(16)])},
)
"""Short convolutions, and attention in six of sixteen blocks."""
MAMBA_130M = Shape(
    name="Mamba 130M Shape",
    arch="mamba",
    n_layer=24,
    n_embd=768,
    n_ff=0,
    n_head=0,
    n_head_kv=0,
    head_dim=1,
    n_vocab=50_280,
    n_ctx_train=1_048_576,
    tied=True,
    sizes={
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 1536,
        "ssm.state_size": 16,
        "ssm.time_step_rank": 48,
    },
)
"""A state and no attention: nothing of it grows with the context."""

TOY = Shape(
    name="Toy",
    n_layer=4,
    n_embd=64,
    n_ff=192,
    n_head=4,
    n_head_kv=2,
    n_vocab=1024,
    n_ctx_train=4096,
)
"""Random weights: it decodes in half a millisecond a token and says nothing sensible."""
TOY_K_QUANT = replace(TOY, name="Toy 256", n_embd=256, n_ff=512)
"""Rows of 256, as the K-quantisations need."""
TOY_128K = replace(TOY, name="Toy 128k", n_vocab=128_256)
"""A vocabulary as large as Llama 3's on a body that costs nothing."""
TOY_MOE = replace(TOY, name="Toy MoE", n_expert=4, n_expert_used=2)
TOY_QWEN3 = replace(
    TOY, name="Toy Qwen3", arch="qwen3", head_dim=32, qk_norm=True, tied=True, vocab="chatml"
)
TOY_GEMMA3 = replace(
    TOY,
    name="Toy Gemma 3",
    arch="gemma3",
    n_layer=6,
    head_dim=32,
    n_swa=512,
    qk_norm=True,
    post_norm=True,
    tied=True,
    vocab="gemma",
)
TOY_GPT_OSS = replace(
    TOY,
    name="Toy gpt-oss",
    arch="gpt-oss",
    head_dim=32,
    n_swa=128,
    n_expert=4,
    n_expert_used=2,
    n_ff_exp=64,
    vocab="harmony",
)

TOY_MLA = replace(
    DEEPSEEK_V2_LITE,
    name="Toy latent attention",
    n_layer=3,
    n_embd=128,
    n_ff=256,
    n_head=4,
    n_vocab=1024,
    n_ctx_train=4096,
    head_dim=32,
    n_expert=4,
    n_expert_used=2,
    n_ff_exp=64,
    sizes={
        "attention.q_lora_rank": 64,
        "attention.kv_lora_rank": 64,
        "attention.key_length": 96,
        "attention.value_length": 64,
        "attention.key_length_mla": 64,
        "attention.value_length_mla": 32,
        "leading_dense_block_count": 1,
        "expert_shared_count": 1,
    },
)
TOY_LFM2 = replace(
    LFM2_1_2B,
    name="Toy LFM2",
    n_layer=4,
    n_embd=64,
    n_ff=192,
    n_head=4,
    n_head_kv=2,
    n_vocab=1024,
    n_ctx_train=4096,
    extra={".attention.head_count_kv": array(I32, [0, 0, 2, 0])},
)
"""A state beside a cache: its memory cannot be cut back to a prefix."""
TOY_MAMBA = replace(
    MAMBA_130M,
    name="Toy Mamba",
    n_layer=3,
    n_embd=64,
    n_vocab=1024,
    n_ctx_train=4096,
    sizes={
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 128,
        "ssm.state_size": 16,
        "ssm.time_step_rank": 8,
    },
)

SHAPES = {
    "llama-3-8b": LLAMA_3_8B,
    "llama-3-70b": LLAMA_3_70B,
    "llama-3.1-8b": LLAMA_31_8B,
    "llama-3.1-70b": LLAMA_31_70B,
    "llama-3.1-405b": LLAMA_31_405B,
    "llama-3.2-1b": LLAMA_32_1B,
    "llama-3.2-3b": LLAMA_32_3B,
    "mixtral-8x7b": MIXTRAL_8X7B,
    "mixtral-8x22b": MIXTRAL_8X22B,
    "qwen3-0.6b": QWEN3_0_6B,
    "qwen3-8b": QWEN3_8B,
    "qwen3-32b": QWEN3_32B,
    "qwen3-30b-a3b": QWEN3_30B_A3B,
    "gemma-3-4b": GEMMA_3_4B,
    "gemma-3-27b": GEMMA_3_27B,
    "gpt-oss-20b": GPT_OSS_20B,
    "gpt-oss-120b": GPT_OSS_120B,
    "deepseek-v2-lite": DEEPSEEK_V2_LITE,
    "lfm2-1.2b": LFM2_1_2B,
    "mamba-130m": MAMBA_130M,
    "toy": TOY,
    "toy-256": TOY_K_QUANT,
    "toy-128k": TOY_128K,
    "toy-moe": TOY_MOE,
    "toy-qwen3": TOY_QWEN3,
    "toy-gemma3": TOY_GEMMA3,
    "toy-gpt-oss": TOY_GPT_OSS,
    "toy-mla": TOY_MLA,
    "toy-lfm2": TOY_LFM2,
    "toy-mamba": TOY_MAMBA,
}
"""Every shape by the name that ``scripts/make_gguf.py`` takes."""
