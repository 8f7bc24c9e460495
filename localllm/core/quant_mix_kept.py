"""Which tensors ``llama-quantize`` leaves alone, and what it does where a row fills no block.

Rules of ``tensor_allows_quantization`` and ``tensor_type_fallback`` (``src/llama-quant.cpp``), and
of the converters, which decide what a tensor is before (``conversion/base.py``).
"""

from __future__ import annotations

from localllm.core.ggml import TYPES_BY_NAME

_KEPT = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
)
"""A matrix with one of these in its name is never quantised."""
_KEPT_WHOLE = frozenset({"position_embd.weight", "token_types.weight"})
_KEPT_IN_F32 = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_inp_shexp.weight",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "altup_correct_coef.weight",
    "altup_predict_coef.weight",
    "time_mix_first.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "indexer.proj.weight",
)
"""What the converters write as f32 whatever is asked of them (``conversion/base.py``)."""

_SMALLER_BLOCKS = {
    "iq1_s": "iq4_nl",
    "iq1_m": "iq4_nl",
    "iq2_xxs": "iq4_nl",
    "iq2_xs": "iq4_nl",
    "iq2_s": "iq4_nl",
    "iq3_xxs": "iq4_nl",
    "iq3_s": "iq4_nl",
    "iq4_xs": "iq4_nl",
    "q2_K": "q4_0",
    "q3_K": "q4_0",
    "tq1_0": "q4_0",
    "tq2_0": "q4_0",
    "q4_K": "q5_0",
    "q5_K": "q5_1",
    "q6_K": "q8_0",
}
"""Where a row is no multiple of 256: a type with blocks of 32 (``tensor_type_fallback``)."""


def quantisable(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is quantised at all (``tensor_allows_quantization``)."""
    # a trailing dimension of 1 is none for ggml
    n_dims = max((i + 1 for i, n in enumerate(shape) if n > 1), default=1)
    return (
        n_dims >= 2
        and name.endswith("weight")
        and name not in _KEPT_WHOLE
        and not any(part in name for part in _KEPT)
    )


def unquantised_type(name: str, shape: tuple[int, ...], source_type: str) -> str:
    """Type of a tensor before ``llama-quantize``: vectors and a few matrices are f32."""
    if len(shape) < 2 or not name.endswith(".weight") or name in _KEPT_WHOLE:
        return "f32"
    return "f32" if any(part in name for part in _KEPT_IN_F32) else source_type


def fitting_type(kind: str, n_row: int) -> str:
    """Return a type whose blocks a row of ``n_row`` elements fills: the wanted one, one with
    smaller blocks, or f16."""
    if n_row % TYPES_BY_NAME[kind].block:
        kind = _SMALLER_BLOCKS.get(kind, kind)
    return "f16" if n_row % TYPES_BY_NAME[kind].block else kind
