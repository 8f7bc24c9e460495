"""Where architectures differ: which blocks have a window, a state or a cache of their own.

Facts of ``load_arch_hparams`` in ``src/models/*.cpp`` and of ``create_memory`` in
``src/llama-model.cpp``, llama.cpp as llama-cpp-python 0.3.36 vendors it. What most architectures
share is in ``model_spec.py``; one that is not named here has none of these peculiarities. A
recording of llama.cpp's own figures for every architecture holds this file to it
(``test_hparams.py``).
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Window(NamedTuple):
    """A sliding window: in which blocks, and how wide, where the file does not say."""

    kind: Literal["standard", "chunked", "symmetric"] = "standard"
    period: int | None = None
    """Of the default pattern: one block in ``period`` attends to everything; 0: none does.
    None: the file lists the blocks."""
    dense_first: bool = False
    """The block that attends to everything opens the period; else it closes it."""
    optional: bool = False
    """No window without ``attention.sliding_window``, or with 0 there."""
    default: int = 0
    """Width without ``attention.sliding_window``."""
    fixed: int = 0
    """Width whatever the file says, as long as there is a window."""
    n_layer: int | None = None
    """Only the model with this many blocks has windows."""


WINDOWS: dict[str, Window] = {
    "afmoe": Window(period=4, optional=True),
    "cohere2": Window(period=4),
    "cohere2moe": Window(period=4, dense_first=True),
    "deepseek4": Window(period=0),
    "dflash": Window(optional=True),
    "dots3note": Window(),
    "exaone-moe": Window(period=4, default=128),
    "exaone4": Window(period=4, default=4096, n_layer=64),
    "gemma-embedding": Window(kind="symmetric", period=6),
    "gemma2": Window(period=2, default=4096),
    "gemma3": Window(period=6, optional=True),
    "gemma3n": Window(period=5),
    "gemma4": Window(),
    "gemma4-assistant": Window(),
    "gpt-oss": Window(period=2),
    "granite_swa": Window(),
    "laguna": Window(period=4, dense_first=True, optional=True),
    "lfm2": Window(period=0, optional=True),
    "llama4": Window(kind="chunked", period=4, default=8192, fixed=8192, optional=True),
    "maple": Window(),
    "mellum": Window(period=4, optional=True),
    "mimo2": Window(),
    "modern-bert": Window(kind="symmetric", period=3, dense_first=True, optional=True),
    "muse-glimmer": Window(period=4),
    "olmo2": Window(period=4, optional=True),
    "plamo3": Window(period=8, optional=True),
    "smallthinker": Window(period=4, dense_first=True, optional=True, fixed=4096),
    "spark2_5": Window(),
    "step35": Window(),
}

RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
"""Every block is recurrent; there is no KV cache."""

WITHOUT_HEADS = RECURRENT | {"wavtokenizer-dec"}
"""``attention.head_count`` may be 0 or missing."""

RECURRENT_WITHOUT_KV_HEADS = frozenset(
    {
        "bailingmoe3",
        "glm5-next",
        "granitehybrid",
        "jamba",
        "kimi-k3",
        "kimi-linear",
        "lfm2",
        "lfm2moe",
        "plamo2",
    }
)
"""A block is recurrent where ``attention.head_count_kv`` is 0."""

NEMOTRON_H = frozenset({"nemotron_h", "nemotron_h_moe"})
"""A block is recurrent with neither KV heads nor a feed-forward network, and has a cache with KV
heads and no feed-forward network."""

FULL_ATTENTION_INTERVALS = {
    "minimax-01": 8,
    "qwen35": 4,
    "qwen35moe": 4,
    "qwen3next": 4,
    "qwen4exp": 4,
}
"""A block is recurrent unless its number is a multiple of ``full_attention_interval`` (here its
default), or as ``attention.recurrent_layers`` lists them."""

STATE_BESIDE_CACHE = frozenset({"falcon-h1"})
"""Every block has both."""

WITHOUT_CACHE = frozenset(
    {
        "bert",
        "dream",
        "eurobert",
        "gemma-embedding",
        "gemma4-assistant",
        "jina-bert-v2",
        "jina-bert-v3",
        "llada",
        "llada-moe",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "rnd1",
        "wavtokenizer-dec",
    }
)
"""Encoders and diffusion models keep nothing between batches; a gemma4 drafter reads the cache of
its target."""

CACHE_IN_MTP_BLOCKS = frozenset({"deepseek4", "graniteswitch", "hy_v4", "minimax-m3"}) | (
    RECURRENT_WITHOUT_KV_HEADS - {"glm5-next"}
)
"""The main context gives the MTP blocks at the end a cache too; elsewhere it leaves them out."""

SHARED_CACHE = {"gemma3n": 20, "gemma4": None}
"""Blocks from this one on read an earlier block's cache; None: the last
``attention.shared_kv_layers``."""

LATENT_ATTENTION = frozenset(
    {
        "bailingmoe3",
        "deepseek2",
        "deepseek32",
        "dots3note",
        "glm-dsa",
        "glm5-next",
        "hy_v4",
        "kimi-k3",
        "kimi-linear",
        "mistral4",
    }
)
"""With ``attention.key_length_mla`` and ``attention.value_length_mla``, the cache holds one
compressed row a token."""

INDEXERS = frozenset(
    {"deepseek32", "dots3note", "glm-dsa", "glm5-next", "hy_v4", "minimax-m3", "qwen4exp"}
)
"""Sparse attention: an indexer chooses the tokens that a block attends to, by keys of its own."""

LATENT_V_ROWS = frozenset({"glm5-next", "kimi-k3"})
"""The V head is as wide as ``attention.kv_lora_rank``."""

WKV_HEADS = RECURRENT - {"mamba", "mamba2"}
"""RWKV and its relatives."""

SHORT_CONVOLUTION = frozenset({"lfm2", "lfm2moe"})

DELTA_ATTENTION = frozenset({"bailingmoe3", "glm5-next", "kimi-k3", "kimi-linear"})

KV_LORA = LATENT_ATTENTION | {"minicpm3", "plm"}

NOT_CAUSAL = frozenset({"dream", "gemma-embedding", "llada", "llada-moe", "rnd1"})

SSM = frozenset(
    {
        "falcon-h1",
        "granitehybrid",
        "jamba",
        "mamba",
        "mamba2",
        "nemotron_h",
        "nemotron_h_moe",
        "plamo2",
        "qwen35",
        "qwen35moe",
        "qwen3next",
        "qwen4exp",
    }
)
"""State-space models, and those that are in part: the ``ssm.`` keys are read."""

WITHOUT_SSM_GROUPS = frozenset({"jamba", "mamba"})
"""``ssm.group_count`` is not read."""

HYPER_CONNECTIONS = frozenset({"deepseek4", "qwen4exp"})
"""The output is ``hyper_connection.count`` times as wide as the embedding."""
