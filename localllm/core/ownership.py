"""Whose a tensor is: the input's, the output's, one block's, every block's, or nobody's.

``LLM_TENSOR_INFOS`` (``src/llama-arch.cpp:727``) says it by name, and ``load_arch_tensors``
(``src/models/*.cpp``) which tensors are read at all; llama.cpp as llama-cpp-python 0.3.36 vendors
it. A tensor that a file holds is either here or makes llama.cpp refuse the file.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from localllm.core.model import ModelSpec, TensorInfo
from localllm.core.traits import Rules

EXPERT_PATTERN = r"ffn_(up|down|gate_up|gate)_(ch|)exps"
"""Expert tensors, as llama.cpp's ``--n-cpu-moe`` matches them."""

_EXPERT = re.compile(EXPERT_PATTERN)
_BLOCK = re.compile(r"(?:(?:enc|dec)\.)?blk\.(\d+)\.|(?:convnext|posnet)\.(\d+)\.")

_INPUT = frozenset({"token_embd", "position_embd", "token_types", "per_layer_token_embd"})
_ROTARY = frozenset({"rope_freqs", "rope_factors_long", "rope_factors_short"})
_FIRST_BLOCK = frozenset(
    {"token_embd_norm", "per_layer_model_proj", "per_layer_proj_norm", "hrm.z_l_init", "conv1d"}
)
"""Named without a block, used with the first one and placed with it."""

_UNUSED = ("masked_embd_",)
_UNUSED_IN_BLOCK = ".cross_attn_rel_b."

_WITHOUT_OUTPUT = frozenset(
    {
        "bert",
        "bitnet",
        "eurobert",
        "jina-bert-v2",
        "jina-bert-v3",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
    }
)
"""No output matrix is made: encoders, and BitNet, which multiplies by the input's in its place."""

_OUTPUT_FIRST = frozenset({"gemma3n", "gemma4"})
"""The output matrix is made before the input's, and so cannot find that to share it."""

_FEED_FORWARD = r"ffn_(?!norm)|exp_probs_b"
_HEADS = r"nextn\.(embed_tokens|shared_head_)"
_MTP_SKIPPED: dict[str, str] = {
    "bailingmoe2": "",
    "bailingmoe3": "",
    "cohere2moe": _HEADS,
    "deepseek2": "",
    "deepseek32": "exp_probs_b",
    "deepseek4": "",
    "dots3note": "",
    "exaone-moe": "",
    "exaone4": "",
    "glm-dsa": "exp_probs_b",
    "glm4": "",
    "glm4moe": "",
    "glm5-next": "",
    "hy_v3": f"{_HEADS}|{_FEED_FORWARD}",
    "mimo2": "",
    "nemotron_h": "",
    "nemotron_h_moe": "",
    "qwen35": "",
    "qwen35moe": "",
    "qwen3next": "",
    "step35": f"{_HEADS}|{_FEED_FORWARD}|attn_[qk]_norm|attn_gate",
}
"""Architectures that do not load their MTP blocks (``TENSOR_SKIP``, ``load_mtp`` off), and the
tensors of those blocks that they load all the same."""

_NOT_MULTIPLIED = re.compile(
    r"_norm|norm_|_rel_b|_ape\b|\.embed_tokens|conv1d|shortconv\.conv|time_mix_(lerp|first|decay\b|"
    r"[wav]0|[kr]_k|k_a|ln)|channel_mix_lerp|ssm_(a|d)\b|hc_\w+_(base|scale)|_res_score|tid2eid|"
    r"^d2t|^markov_w1|^selector_(predecessor|successor)|ffn\.act|layer_output_scale|gamma|\.dw\b|"
    r"posnet\.\d+\.conv|altup_correct_scale|attn_sinks|_conv_base"
)
"""Matrices of the blocks and the output that are looked up, added or convolved."""


_SCANNING = frozenset(
    {
        "falcon-h1",
        "granitehybrid",
        "jamba",
        "mamba",
        "mamba2",
        "nemotron_h",
        "nemotron_h_moe",
        "plamo2",
    }
)
"""``ssm_a`` is an operand of SSM_SCAN; elsewhere it is only multiplied with."""
_CONVOLVED = (".ssm_conv1d.weight", ".shortconv.conv.weight", ".ple_conv1d.weight")


class Owner(NamedTuple):
    """The part of a model that a tensor is placed with."""

    kind: Literal["input", "output", "block", "rotary", "nobody"]
    """``rotary``: factors that every rotating block uses, one copy per buffer with such blocks."""
    layer: int = -1


def owner(model: ModelSpec, tensor: TensorInfo) -> Owner:
    """Return whose a tensor is."""
    name = tensor.name
    if name.startswith(_UNUSED) or _UNUSED_IN_BLOCK in name:
        return Owner("nobody")
    if match := _BLOCK.match(name):
        layer = int(match[1] or match[2])
        return Owner("nobody") if _is_skipped(model, name, layer) else Owner("block", layer)
    base = name.rsplit(".", 1)[0]
    if base in _INPUT:
        return Owner("input")
    if base in _ROTARY:
        return Owner("rotary")
    if name in _FIRST_BLOCK or base in _FIRST_BLOCK:
        # LFM2's files give the output's norm this name.
        is_output = base == "token_embd_norm" and model.arch in ("lfm2", "lfm2moe")
        return Owner("output") if is_output else Owner("block", 0)
    return Owner("output")


def is_expert(tensor: TensorInfo) -> bool:
    """Whether a tensor holds the routed experts of one block, or a bias or scale of them."""
    return _EXPERT.search(tensor.name) is not None


def is_multiplied(tensor: TensorInfo) -> bool:
    """Whether a tensor of a block or the output is the matrix of a multiplication."""
    return tensor.name.endswith(".weight") and _NOT_MULTIPLIED.search(tensor.name) is None


def copies_embedding(model: ModelSpec) -> bool:
    """Whether the output matrix is made from the input embedding (``TENSOR_DUPLICATED``)."""
    return model.tied_embeddings and model.arch not in _WITHOUT_OUTPUT


def shares_embedding(model: ModelSpec) -> bool:
    """Whether an output matrix made from the input embedding is the same tensor in one buffer.

    Where llama.cpp makes it first, RAM holds two, of one place in the file where that is mapped.
    """
    return model.arch not in _OUTPUT_FIRST


def stays_in_ram(model: ModelSpec, tensor: TensorInfo, rules: Rules) -> bool:
    """Whether a device leaves a tensor of its blocks in RAM: it does not compute its operation.

    ``weight_buft_supported`` (``src/llama-model-loader.cpp:927``) asks the device with a trial
    operation. CUDA scans states of some sizes only and convolves 128 rows at a time
    (``ggml-cuda.cu:5500-5520``); what other devices refuse is not of this kind.
    """
    if rules != "cuda":
        return False
    columns, rows = (*tensor.shape, 1)[:2]
    if tensor.name.endswith(".ssm_a") and model.arch in _SCANNING:
        head_dim = model.ssm_d_inner // rows
        if columns == 1:  # Mamba 2
            return model.ssm_d_state not in (96, 128, 256) or head_dim % 16 != 0
        return columns != 16 or head_dim != 1 or rows % 128 != 0 or model.ssm_n_group > 1
    return tensor.name.endswith(_CONVOLVED) and rows % 128 != 0


def rotates(model: ModelSpec, layer: int) -> bool:
    """Whether a block uses the rotary factors that the file holds.

    Gemma 4: blocks without a window (``src/models/gemma4.cpp:94``). MTP blocks do not, except Step
    3.5's. Where blocks are run several times over, only the first round has weights.
    """
    block = model.layers[layer]
    if model.arch in ("gemma4", "gemma4-assistant"):
        return not block.is_swa
    return layer < model.n_layer_main or model.arch == "step35"


def _is_skipped(model: ModelSpec, name: str, layer: int) -> bool:
    kept = _MTP_SKIPPED.get(model.arch)
    if kept is None or layer < model.n_layer_main:
        return False
    return not (kept and re.search(kept, name))
