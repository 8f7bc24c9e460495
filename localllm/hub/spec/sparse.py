"""What blocks keep beside a KV cache: indexer keys, compressed caches, n-gram histories.

Rules of ``load_arch_hparams`` (``src/models/*.cpp``) and of ``create_memory``
(``src/llama-model.cpp``), llama.cpp as llama-cpp-python 0.3.36 vendors it.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.hub.spec import architectures as known
from localllm.hub.spec.hparams import MAX_LAYERS, Hparams

_LONG_GLM_CONTEXT = 2**20
"""GLM 5.2 and later train on so many tokens; their blocks share indexers if nothing is said."""
_MAX_HEADS = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparse:
    """Per block, and for the whole model."""

    has_indexer: list[bool]
    compress_ratios: list[int]
    is_ple: list[bool]
    indexer_head_size: int
    indexer_kpool: int
    ple_conv_state: int


def read_sparse(
    hparams: Hparams, n_layer: int, n_main: int, n_embd: int, recurrent: list[bool]
) -> Sparse:
    """Read it all; empty for nearly every architecture. Raises GGUFError for impossible figures."""
    arch = hparams.arch
    ratios = [0] * n_layer
    if arch == "deepseek4":
        ratios = hparams.numbers("attention.compress_ratios", n_layer) or ratios
    has_indexer = _indexers(hparams, n_layer, n_main, recurrent)
    is_ple, conv_state = _n_gram_history(hparams, n_layer, n_embd)
    reads_size = any(has_indexer) or arch == "deepseek4"
    return Sparse(
        has_indexer=has_indexer,
        compress_ratios=ratios,
        is_ple=is_ple,
        indexer_head_size=hparams.integer("attention.indexer.key_length") if reads_size else 0,
        indexer_kpool=hparams.integer("attention.indexer.kpool") if arch == "glm5-next" else 0,
        ple_conv_state=conv_state,
    )


def _indexers(hparams: Hparams, n_layer: int, n_main: int, recurrent: list[bool]) -> list[bool]:
    """Which blocks own an indexer; blocks that share an earlier one's choice have none."""
    arch = hparams.arch
    if arch not in known.INDEXERS:
        return [False] * n_layer
    if arch == "minimax-m3":
        n_dense = hparams.integer("leading_dense_block_count", high=MAX_LAYERS)
        return [i >= n_dense for i in range(n_layer)]
    full = [1] * n_main
    if arch == "hy_v4":
        own = int(hparams.integer("attention.indexer.top_k") > 0)
        full = hparams.per_layer("attention.indexer.types", n_main, 0) if own else [0] * n_main
    elif arch == "dots3note":
        full = hparams.numbers("attention.indexer.types", n_main) or full
    elif arch in ("glm-dsa", "glm5-next"):
        long = arch == "glm-dsa" and hparams.integer("context_length") >= _LONG_GLM_CONTEXT
        default = [int(i < 2 or (i % 4 == 2 and i < 78)) for i in range(n_main)] if long else full
        full = hparams.per_layer("attention.indexer.types", n_main, default)
    return [i < n_main and bool(full[i]) and not recurrent[i] for i in range(n_layer)]


def _n_gram_history(hparams: Hparams, n_layer: int, n_embd: int) -> tuple[list[bool], int]:
    """``(kernel - 1) * n-gram size * streams * n_embd`` in the block that has the module."""
    nowhere = [False] * n_layer
    if hparams.arch != "qwen4exp":
        return nowhere, 0
    blocks = hparams.numbers("ple.layers")
    n_gram = hparams.integer("ple.ngram_size", high=_MAX_HEADS)
    n_heads = (n_gram - 1) * hparams.integer("ple.heads_per_ngram", high=_MAX_HEADS)
    kernel = hparams.integer("ple.conv_kernel", high=_MAX_HEADS)
    if not blocks or n_heads <= 0 or kernel == 0:
        return nowhere, 0
    n_streams = hparams.integer("hyper_connection.count", high=1024)
    return [i in blocks for i in range(n_layer)], (kernel - 1) * n_gram * n_streams * n_embd
