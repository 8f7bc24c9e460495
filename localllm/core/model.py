"""A model as its GGUF header describes it: hyperparameters by llama.cpp's names, and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MetadataValue = str | int | float | bool | tuple["MetadataValue", ...]

RECORDED = "recorded shape "
"""How ``ModelSpec.source`` of a known model begins: there is no file, and its name follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """One tensor of the file."""

    name: str
    type: str
    """ggml type name in lower case, as ``ggml_type_name`` prints it: ``f16``, ``q4_K``."""
    shape: tuple[int, ...]
    """``ne`` in ggml's order: ``shape[0]`` is the row length."""
    n_bytes: int
    """Size of the data, without the padding that follows it in the file."""
    offset: int
    """Absolute position of the data in its file, in bytes."""
    part: int = 0
    """Which part of a split file holds it, from 0."""

    @property
    def n_elements(self) -> int:
        """Number of elements: the product of the shape."""
        product = 1
        for n in self.shape:
            product *= n
        return product

    @property
    def layer(self) -> int | None:
        """Index of the block that owns the tensor (``blk.N.``), or None for input and output."""
        if not self.name.startswith("blk."):
            return None
        digits = self.name[4:].split(".", 1)[0]
        return int(digits) if digits.isdigit() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerHparams:
    """Hyperparameters that may differ from block to block."""

    n_head: int
    n_head_kv: int
    """0 for a block without attention."""
    n_ff: int
    """Width of the dense feed-forward network; a block of experts only may carry one as well."""
    is_swa: bool = False
    """The block attends to the last ``n_swa`` tokens only."""
    is_recurrent: bool = False
    """The block keeps a state, instead of a KV cache or (``has_kv``) beside one."""
    has_kv: bool = True
    """The block has a KV cache of its own: it is neither recurrent nor an MTP block, and does not
    read the cache of an earlier block."""
    n_ff_exp: int = 0
    """Width of one expert; 0 where there are none, or where ``n_ff`` says it."""
    n_expert_used: int = 0
    """Experts that a token passes through; 0 in a dense block."""
    has_indexer: bool = False
    """The block keeps the keys of a sparse attention's indexer beside its cache."""
    compress_ratio: int = 0
    """Tokens that DeepSeek V4 compresses into one cell of a second cache: 4, 128, or 0 for none."""
    is_ple: bool = False
    """The block keeps the history of an n-gram embedding's convolution (Qwen 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What the planner needs to know of a model. Built from a header, or from a recorded shape."""

    name: str
    source: str
    """Path, URL or profile name that it was read from."""
    arch: str
    """``general.architecture``."""
    quant: str
    """The file's quantisation as people name it: ``Q4_K_M``, ``F16``, ``MXFP4``."""
    n_params: int
    file_bytes: int
    """Size of all parts of the file together."""
    n_ctx_train: int
    n_embd: int
    n_vocab: int
    n_embd_head_k: int
    n_embd_head_v: int
    n_rot: int
    layers: tuple[LayerHparams, ...]
    """One per block, MTP blocks included: ``n_layer`` is its length."""
    tensors: tuple[TensorInfo, ...]
    n_swa: int = 0
    n_expert: int = 0
    n_expert_used: int = 0
    n_expert_shared: int = 0
    n_ff_exp: int = 0
    n_lora_kv: int = 0
    """``attention.kv_lora_rank``. Only with ``is_mla`` is it what the cache holds."""
    n_embd_head_k_mla: int = 0
    n_embd_head_v_mla: int = 0
    """Head sizes of multi-head latent attention after decompression; 0 elsewhere."""
    n_embd_head_k_swa: int = 0
    n_embd_head_v_swa: int = 0
    """Head sizes of the sliding-window blocks; 0: as ``n_embd_head_k`` and ``n_embd_head_v``."""
    n_rot_swa: int = 0
    swa_type: Literal["none", "standard", "chunked", "symmetric"] = "none"
    n_ff_shexp: int = 0
    n_embd_out: int = 0
    """Width of the output; 0: as ``n_embd``."""
    causal_attn: bool = True
    n_layer_nextn: int = 0
    """MTP (next-token prediction) blocks at the end of ``layers``."""
    ssm_d_conv: int = 0
    ssm_d_inner: int = 0
    ssm_d_state: int = 0
    ssm_dt_rank: int = 0
    ssm_n_group: int = 0
    n_shortconv_l_cache: int = 0
    """Cells of LFM2's short convolution."""
    wkv_head_size: int = 0
    token_shift_count: int = 2
    """RWKV's state, with ``wkv_head_size``."""
    n_embd_head_kda: int = 0
    """Head size of Kimi's delta attention."""
    n_embd_head_la: int = 0
    """Head size of MiniMax's lightning attention."""
    indexer_head_size: int = 0
    indexer_kpool: int = 0
    """Sparse attention: width of an indexer's key, and tokens pooled into one; 0: none."""
    ple_conv_state: int = 0
    """Width of the history that ``is_ple`` blocks keep."""
    has_chat_template: bool = False
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    """Every scalar and short array of the header, by its full key."""

    @property
    def n_layer(self) -> int:
        """``block_count``: repeating layers, without the output layer."""
        return len(self.layers)

    @property
    def n_layer_main(self) -> int:
        """Blocks that a token passes through: without the MTP blocks at the end."""
        return len(self.layers) - self.n_layer_nextn

    @property
    def n_layer_total(self) -> int:
        """What ``n_gpu_layers`` counts up to: the repeating layers and the output layer."""
        return len(self.layers) + 1

    @property
    def is_mla(self) -> bool:
        """Whether the blocks cache one compressed row per token (multi-head latent attention)."""
        return self.n_embd_head_k_mla > 0 and self.n_embd_head_v_mla > 0

    @property
    def tied_embeddings(self) -> bool:
        """Whether the output matrix is the input embedding (no ``output.weight`` in the file)."""
        return not any(tensor.name == "output.weight" for tensor in self.tensors)

    def n_embd_k_gqa(self, layer: int) -> int:
        """Elements of one token's K row in a block: KV heads times the head's size."""
        block = self.layers[layer]
        swa = self.n_embd_head_k_swa if block.is_swa else 0
        return block.n_head_kv * (swa or self.n_embd_head_k)

    def n_embd_v_gqa(self, layer: int) -> int:
        """Elements of one token's V row in a block: KV heads times the head's size."""
        block = self.layers[layer]
        swa = self.n_embd_head_v_swa if block.is_swa else 0
        return block.n_head_kv * (swa or self.n_embd_head_v)
