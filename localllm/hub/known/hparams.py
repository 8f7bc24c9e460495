"""Hyperparameters of recorded shapes: llama.cpp's names for them, and the GGUF keys they stand for.

Shapes name what they say by the fields of ``llama_hparams`` (``n_embd``, ``n_head_kv``), so that a
tensor's dimensions can be written in the same words. A key that is not here is written out, without
the architecture in front: ``"rope.scaling.type" = "yarn"``.
"""

from __future__ import annotations

from collections.abc import Mapping

from localllm.hub.gguf.writer import Scalar, TypedValue

KEYS: dict[str, tuple[str, str]] = {
    "n_ctx_train": ("context_length", "u32"),
    "n_layer": ("block_count", "u32"),
    "n_embd": ("embedding_length", "u32"),
    "n_embd_out": ("embedding_length_out", "u32"),
    "n_embd_per_layer": ("embedding_length_per_layer_input", "u32"),
    "n_ff": ("feed_forward_length", "u32"),
    "n_ff_exp": ("expert_feed_forward_length", "u32"),
    "n_ff_shexp": ("expert_shared_feed_forward_length", "u32"),
    "n_vocab": ("vocab_size", "u32"),
    "n_head": ("attention.head_count", "u32"),
    "n_head_kv": ("attention.head_count_kv", "u32"),
    "n_embd_head_k": ("attention.key_length", "u32"),
    "n_embd_head_v": ("attention.value_length", "u32"),
    "n_embd_head_k_swa": ("attention.key_length_swa", "u32"),
    "n_embd_head_v_swa": ("attention.value_length_swa", "u32"),
    "n_embd_head_k_mla": ("attention.key_length_mla", "u32"),
    "n_embd_head_v_mla": ("attention.value_length_mla", "u32"),
    "n_lora_q": ("attention.q_lora_rank", "u32"),
    "n_lora_kv": ("attention.kv_lora_rank", "u32"),
    "n_layer_kv_shared": ("attention.shared_kv_layers", "u32"),
    "n_swa": ("attention.sliding_window", "u32"),
    "swa_layers": ("attention.sliding_window_pattern", "bool"),
    "n_rot": ("rope.dimension_count", "u32"),
    "n_rot_swa": ("rope.dimension_count_swa", "u32"),
    "rope_sections": ("rope.dimension_sections", "i32"),
    "rope_freq_base": ("rope.freq_base", "f32"),
    "rope_freq_base_swa": ("rope.freq_base_swa", "f32"),
    "f_norm_eps": ("attention.layer_norm_epsilon", "f32"),
    "f_norm_rms_eps": ("attention.layer_norm_rms_epsilon", "f32"),
    "f_attention_scale": ("attention.scale", "f32"),
    "f_residual_scale": ("residual_scale", "f32"),
    "f_embedding_scale": ("embedding_scale", "f32"),
    "f_logit_scale": ("logit_scale", "f32"),
    "f_attn_logit_softcapping": ("attn_logit_softcapping", "f32"),
    "f_final_logit_softcapping": ("final_logit_softcapping", "f32"),
    "n_expert": ("expert_count", "u32"),
    "n_expert_used": ("expert_used_count", "u32"),
    "n_expert_shared": ("expert_shared_count", "u32"),
    "n_expert_groups": ("expert_group_count", "u32"),
    "n_group_used": ("expert_group_used_count", "u32"),
    "expert_gating_func": ("expert_gating_func", "u32"),
    "expert_weights_norm": ("expert_weights_norm", "bool"),
    "expert_weights_scale": ("expert_weights_scale", "f32"),
    "n_layer_dense_lead": ("leading_dense_block_count", "u32"),
    "n_moe_layer_step": ("interleave_moe_layer_step", "u32"),
    "n_layer_nextn": ("nextn_predict_layers", "u32"),
    "full_attention_interval": ("full_attention_interval", "u32"),
    "ssm_d_conv": ("ssm.conv_kernel", "u32"),
    "ssm_d_inner": ("ssm.inner_size", "u32"),
    "ssm_d_state": ("ssm.state_size", "u32"),
    "ssm_dt_rank": ("ssm.time_step_rank", "u32"),
    "ssm_n_group": ("ssm.group_count", "u32"),
    "n_shortconv_l_cache": ("shortconv.l_cache", "u32"),
    "n_embd_head_kda": ("kda.head_dim", "u32"),
    "moe_latent_size": ("moe_latent_size", "u32"),
}
"""Our name (llama.cpp's) -> the key after the architecture, and its GGUF type."""

Hparam = Scalar | list[Scalar]
"""One value for the model, or one for each block."""


def typed_keys(hparams: Mapping[str, Hparam], arch: str) -> list[tuple[str, TypedValue]]:
    """Return metadata for a header, in a fixed order, with the types that llama.cpp expects."""
    keys: list[tuple[str, TypedValue]] = []
    for name, value in sorted(hparams.items()):
        key, kind = KEYS.get(name, (name, ""))
        kind = kind or natural_type(value)
        if isinstance(value, list) and kind == "u32":
            kind = "i32"
        keys.append((f"{arch}.{key}", (kind, _as_float(value) if kind == "f32" else value)))
    return keys


def natural_type(value: Hparam) -> str:
    """Return the GGUF type that llama.cpp's converters give to such a value."""
    if isinstance(value, list):
        inner = natural_type(value[0]) if value else "i32"
        return "i32" if inner == "u32" else inner
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "u32" if value >= 0 else "i32"
    return "f32" if isinstance(value, float) else "string"


def _as_float(value: Hparam) -> Hparam:
    if isinstance(value, list):
        return [float(each) for each in value]
    return float(value)


def with_derived(hparams: Mapping[str, Hparam]) -> dict[str, Hparam]:
    """Return the hyperparameters with llama.cpp's defaults for those that follow from others."""
    known = dict(hparams)
    n_embd, n_head = hparams.get("n_embd"), hparams.get("n_head")
    if isinstance(n_head, list):
        n_head = next((n for n in n_head if n), 0)
    if "n_embd_head_k" not in known and isinstance(n_embd, int) and n_head:
        known["n_embd_head_k"] = n_embd // int(n_head)
    if "n_head" in known:
        known.setdefault("n_head_kv", known["n_head"])
    if "n_embd_head_k" in known:
        known.setdefault("n_embd_head_v", known["n_embd_head_k"])
        known.setdefault("n_rot", known["n_embd_head_k"])
    return known
