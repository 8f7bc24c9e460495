"""ModelSpec from a GGUF header: llama.cpp's hyperparameters, with its defaults.

The keys are ``{architecture}.{key}``, the same for every architecture; where architectures differ
is in ``architectures.py``. An architecture that llama.cpp does not know still gives a ModelSpec
when the common keys are there: whether it runs is for the engine to say.
"""

from __future__ import annotations

from collections import Counter

from localllm.core.model import ModelSpec
from localllm.core.text import printable
from localllm.hub.gguf.kinds import refuse_what_is_no_model
from localllm.hub.gguf.parser import GGUFHeader
from localllm.hub.gguf.types import FILE_TYPES
from localllm.hub.spec import architectures as known
from localllm.hub.spec.hparams import MAX_EXPERTS, MAX_LAYERS, Hparams
from localllm.hub.spec.layers import read_blocks, read_heads

MAX_CONTEXT = 2**30
MAX_NAME = 100
_GUESSED = 1024
"""Bit of ``llama_ftype`` for a file type that was guessed."""


def model_spec(header: GGUFHeader, *, source: str, stem: str) -> ModelSpec:
    """Return what a header says of its model.

    ``header`` holds the tensors of all parts; ``stem`` names a model that does not name itself.
    Raises UsageError for a file that is no model, GGUFError for figures that cannot be.
    """
    arch = refuse_what_is_no_model(header)
    hparams = Hparams(arch, header.metadata, header.arrays)
    n_layer = hparams.integer("block_count", None, low=1, high=MAX_LAYERS)
    n_embd_key = "features_length" if arch == "wavtokenizer-dec" else "embedding_length"
    n_embd = hparams.integer(n_embd_key, None, low=1)
    heads = read_heads(hparams, n_layer, n_embd)
    blocks = read_blocks(hparams, n_layer, n_embd, heads, header.tensors)
    n_expert_used = max(layer.n_expert_used for layer in blocks.layers)

    def read(architectures: frozenset[str], key: str, default: int = 0) -> int:
        """A key that only some architectures have, the default for all others."""
        return hparams.integer(key, default) if arch in architectures else default

    return ModelSpec(
        name=_name(header, stem),
        source=source,
        arch=arch,
        quant=_quant(header),
        n_params=sum(tensor.n_elements for tensor in header.tensors),
        file_bytes=header.file_bytes,
        n_ctx_train=hparams.integer("context_length", None, low=1, high=MAX_CONTEXT),
        n_embd=n_embd,
        n_vocab=_n_vocab(header, hparams),
        n_embd_head_k=heads.n_embd_head_k,
        n_embd_head_v=heads.n_embd_head_v,
        n_rot=heads.n_rot,
        layers=blocks.layers,
        tensors=header.tensors,
        n_swa=blocks.n_swa,
        n_expert=hparams.integer("expert_count", high=MAX_EXPERTS) if n_expert_used else 0,
        n_expert_used=n_expert_used,
        n_expert_shared=hparams.integer("expert_shared_count", 1 if arch == "laguna" else 0),
        n_ff_exp=max(layer.n_ff_exp for layer in blocks.layers),
        n_lora_kv=read(known.KV_LORA, "attention.kv_lora_rank"),
        n_embd_head_k_mla=read(known.LATENT_ATTENTION, "attention.key_length_mla"),
        n_embd_head_v_mla=read(known.LATENT_ATTENTION, "attention.value_length_mla"),
        n_embd_head_k_swa=heads.n_embd_head_k_swa,
        n_embd_head_v_swa=heads.n_embd_head_v_swa,
        n_rot_swa=heads.n_rot_swa,
        swa_type=blocks.swa_type,
        n_ff_shexp=hparams.integer("expert_shared_feed_forward_length"),
        n_embd_out=_n_embd_out(hparams, n_embd),
        causal_attn=arch not in known.NOT_CAUSAL and hparams.boolean("attention.causal", True),
        n_layer_nextn=blocks.n_layer_nextn,
        ssm_d_conv=read(known.SSM | known.DELTA_ATTENTION, "ssm.conv_kernel"),
        ssm_d_inner=read(known.SSM, "ssm.inner_size"),
        ssm_d_state=read(known.SSM, "ssm.state_size"),
        ssm_dt_rank=read(known.SSM, "ssm.time_step_rank"),
        ssm_n_group=read(known.SSM - known.WITHOUT_SSM_GROUPS, "ssm.group_count"),
        n_shortconv_l_cache=read(known.SHORT_CONVOLUTION, "shortconv.l_cache"),
        wkv_head_size=read(known.WKV_HEADS, "wkv.head_size"),
        token_shift_count=read(known.WKV_HEADS, "token_shift_count", 2),
        n_embd_head_kda=read(known.DELTA_ATTENTION, "kda.head_dim"),
        n_embd_head_la=heads.n_embd_head_k if arch == "minimax-01" else 0,
        indexer_head_size=blocks.sparse.indexer_head_size,
        indexer_kpool=blocks.sparse.indexer_kpool,
        ple_conv_state=blocks.sparse.ple_conv_state,
        has_chat_template=header.template is not None,
        metadata=header.metadata,
    )


def _name(header: GGUFHeader, stem: str) -> str:
    """The model's own name for itself, safe to print and on one line."""
    value = header.metadata.get("general.name")
    if isinstance(value, str):
        name = " ".join(printable(value).split())[:MAX_NAME]
        if any(character.isalnum() for character in name):
            return name
    return " ".join(printable(stem).split())[:MAX_NAME]


def _quant(header: GGUFHeader) -> str:
    """The quantisation that the file states, else the type that most of its bytes have."""
    value = header.metadata.get("general.file_type")
    if isinstance(value, int) and (value & ~_GUESSED) in FILE_TYPES:
        return FILE_TYPES[value & ~_GUESSED]
    n_bytes: Counter[str] = Counter()
    for tensor in header.tensors:
        n_bytes[tensor.type] += tensor.n_bytes
    return n_bytes.most_common(1)[0][0].upper()


def _n_embd_out(hparams: Hparams, n_embd: int) -> int:
    if hparams.arch == "wavtokenizer-dec":
        return hparams.integer("embedding_length")
    if hparams.arch in known.HYPER_CONNECTIONS:
        return n_embd * hparams.integer("hyper_connection.count", high=1024)
    return hparams.integer("embedding_length_out")


def _n_vocab(header: GGUFHeader, hparams: Hparams) -> int:
    """Tokens of the vocabulary; of a model without one, what the key or the embedding says."""
    if header.n_tokens:
        return header.n_tokens
    if n_vocab := hparams.integer("vocab_size"):
        return n_vocab
    for tensor in header.tensors:
        if tensor.name == "token_embd.weight" and len(tensor.shape) > 1:
            return tensor.shape[1]
    return 0
