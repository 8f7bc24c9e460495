"""Which tensor gets which type: llama.cpp's mixtures, for the quantisations that people download.

The rules of ``llama_tensor_get_type`` (``src/llama-quant.cpp`` of llama.cpp as llama-cpp-python
0.3.36 vendors it), for files made without an importance matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from localllm.core.ggml import TYPES_BY_NAME
from tests.support.gguf_writer import Tensor

FILE_TYPE_IDS = {
    "F32": 0,
    "F16": 1,
    "Q4_0": 2,
    "Q8_0": 7,
    "Q5_0": 8,
    "Q2_K": 10,
    "Q3_K_S": 11,
    "Q3_K_M": 12,
    "Q4_K_S": 14,
    "Q4_K_M": 15,
    "Q5_K_S": 16,
    "Q5_K_M": 17,
    "Q6_K": 18,
    "IQ4_XS": 30,
    "BF16": 32,
    "MXFP4": 38,
}
_DEFAULT_TYPES = {
    "F32": "f32",
    "F16": "f16",
    "BF16": "bf16",
    "Q4_0": "q4_0",
    "Q5_0": "q5_0",
    "Q8_0": "q8_0",
    "Q2_K": "q2_K",
    "Q3_K_S": "q3_K",
    "Q3_K_M": "q3_K",
    "Q4_K_S": "q4_K",
    "Q4_K_M": "q4_K",
    "Q5_K_S": "q5_K",
    "Q5_K_M": "q5_K",
    "Q6_K": "q6_K",
    "IQ4_XS": "iq4_xs",
    "MXFP4": "q8_0",
}
_KEPT_IN_F32 = ("_norm.weight", "ffn_gate_inp.weight", "ssm_conv1d", "shortconv.conv.weight")
_SMALLER_BLOCKS = {
    "q2_K": "q4_0",
    "q3_K": "q4_0",
    "q4_K": "q5_0",
    "q5_K": "q5_1",
    "q6_K": "q8_0",
    "iq4_xs": "iq4_nl",
}


class Mix(NamedTuple):
    """What the rules look at besides the tensor itself."""

    quant: str
    n_layer: int
    n_gqa: int
    n_expert: int = 0
    is_70b: bool = False
    """``LLM_TYPE_70B``: 80 layers of the llama architecture with grouped heads."""


def quantised(tensors: Sequence[Tensor], mix: Mix) -> list[Tensor]:
    """The same tensors with the types that ``llama-quantize`` would give them."""
    tied = not any(tensor.name == "output.weight" for tensor in tensors)
    return [
        Tensor(tensor.name, _type_of(tensor, mix, tied=tied), tensor.shape) for tensor in tensors
    ]


def _type_of(tensor: Tensor, mix: Mix, *, tied: bool) -> str:
    name = tensor.name
    if len(tensor.shape) < 2 or not name.endswith("weight"):
        return "f32"
    if any(part in name for part in _KEPT_IN_F32):
        return "f32"
    default = _DEFAULT_TYPES[mix.quant]
    if default in ("f32", "f16", "bf16"):
        return default
    chosen = _mixed(tensor, mix, default, tied=tied)
    n_columns = tensor.shape[0]
    if n_columns % TYPES_BY_NAME[chosen].block:
        chosen = _SMALLER_BLOCKS.get(chosen, "f16")
        if n_columns % TYPES_BY_NAME[chosen].block:
            chosen = "f16"
    return chosen


def _more_bits(layer: int, n_layer: int) -> bool:
    return (
        layer < n_layer // 8
        or layer >= 7 * n_layer // 8
        or (layer >= n_layer // 8 and (layer - n_layer // 8) % 3 == 2)
    )


def _mixed(tensor: Tensor, mix: Mix, default: str, *, tied: bool) -> str:
    name, quant = tensor.name, mix.quant
    layer = int(name.split(".")[1]) if name.startswith("blk.") else 0
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        if quant == "MXFP4" or tensor.shape[0] % TYPES_BY_NAME[default].block:
            return "q8_0"
        return default if default == "q8_0" else "q6_K"
    if quant == "MXFP4":
        return "mxfp4" if len(tensor.shape) > 2 and tensor.shape[2] > 1 else "q8_0"
    if name == "token_embd.weight":
        return default
    more = _more_bits(layer, mix.n_layer)
    if any(part in name for part in ("attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight")):
        return _attention_v(mix, default, layer, more=more)
    if "attn_k.weight" in name:
        return "q8_0" if mix.n_expert == 8 else default
    if "ffn_down" in name:
        return _feed_forward_down(mix, default, layer, more=more)
    if "attn_output.weight" in name:
        if mix.n_expert == 8:
            return "q5_K" if default in ("q2_K", "q3_K", "q4_K", "iq4_xs") else default
        return {"Q2_K": "q3_K", "Q3_K_M": "q4_K"}.get(quant, default)
    return default


def _attention_v(mix: Mix, default: str, layer: int, *, more: bool) -> str:
    quant, grouped = mix.quant, mix.n_gqa >= 4
    chosen = default
    if quant == "Q2_K":
        chosen = "q4_K" if grouped else "q3_K"
    elif quant == "Q3_K_M":
        chosen = "q5_K" if layer < 2 else "q4_K"
    elif quant == "IQ4_XS":
        chosen = "q5_K" if grouped else default
    elif quant in ("Q4_K_M", "Q5_K_M") and more:
        chosen = "q6_K"
    elif quant == "Q4_K_S" and layer < 4:
        chosen = "q5_K"
    if mix.is_70b and chosen in ("q3_K", "q4_K"):
        chosen = "q5_K"
    return "q8_0" if mix.n_expert == 8 else chosen


def _feed_forward_down(mix: Mix, default: str, layer: int, *, more: bool) -> str:
    quant, early = mix.quant, layer < mix.n_layer // 8
    if quant == "Q2_K":
        return "q3_K"
    if quant == "Q3_K_M":
        return "q5_K" if layer < mix.n_layer // 16 else "q4_K"
    if quant in ("Q4_K_M", "Q5_K_M"):
        return "q6_K" if more else default
    if quant in ("Q4_K_S", "IQ4_XS") and early:
        return "q5_K"
    return default
