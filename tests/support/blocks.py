"""The tensors of one block, by architecture, as llama.cpp names them (``src/models/*.cpp``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.shapes import Shape

LFM2_ATTENTION = (2, 5, 8, 10, 12, 14)
"""Blocks of LFM2 1.2B that attend; the others are short convolutions."""

Dims = dict[str, tuple[int, ...]]


def block(shape: Shape, layer: int) -> Dims:
    """Every tensor of a block without its ``blk.N.``, in the order of the file."""
    if shape.arch == "mamba":
        return _mamba(shape)
    if shape.arch == "deepseek2":
        return _latent_attention(shape) | _experts(shape, layer)
    if shape.arch == "lfm2":
        return _lfm2(shape, layer)
    return _attention(shape) | _norms(shape) | _experts(shape, layer)


def _attention(shape: Shape) -> Dims:
    n_embd, head = shape.n_embd, shape.n_embd_head
    n_q, n_kv = shape.n_head * head, shape.n_head_kv * head
    dims: Dims = {
        "attn_norm.weight": (n_embd,),
        "attn_q.weight": (n_embd, n_q),
        "attn_k.weight": (n_embd, n_kv),
        "attn_v.weight": (n_embd, n_kv),
        "attn_output.weight": (n_q, n_embd),
    }
    if shape.qk_norm:
        dims |= {"attn_q_norm.weight": (head,), "attn_k_norm.weight": (head,)}
    if shape.arch == "gpt-oss":
        dims |= {
            "attn_q.bias": (n_q,),
            "attn_k.bias": (n_kv,),
            "attn_v.bias": (n_kv,),
            "attn_output.bias": (n_embd,),
            "attn_sinks.weight": (shape.n_head,),
        }
    return dims


def _norms(shape: Shape) -> Dims:
    n_embd = (shape.n_embd,)
    if shape.arch == "gpt-oss":
        return {"post_attention_norm.weight": n_embd}
    if shape.post_norm:
        return {
            "post_attention_norm.weight": n_embd,
            "post_ffw_norm.weight": n_embd,
            "ffn_norm.weight": n_embd,
        }
    return {"ffn_norm.weight": n_embd}


def _dense(n_embd: int, n_ff: int, suffix: str = "") -> Dims:
    return {
        f"ffn_gate{suffix}.weight": (n_embd, n_ff),
        f"ffn_up{suffix}.weight": (n_embd, n_ff),
        f"ffn_down{suffix}.weight": (n_ff, n_embd),
    }


def _experts(shape: Shape, layer: int) -> Dims:
    """The feed-forward network: dense, or the router and the experts."""
    n_embd, n_expert = shape.n_embd, shape.n_expert
    if not n_expert or layer < shape.sizes.get("leading_dense_block_count", 0):
        return _dense(n_embd, shape.n_ff)
    n_ff = shape.n_ff_exp or shape.n_ff
    dims: Dims = {
        "ffn_gate_inp.weight": (n_embd, n_expert),
        "ffn_gate_exps.weight": (n_embd, n_ff, n_expert),
        "ffn_down_exps.weight": (n_ff, n_embd, n_expert),
        "ffn_up_exps.weight": (n_embd, n_ff, n_expert),
    }
    if shape.arch == "gpt-oss":
        dims |= {
            "ffn_gate_inp.bias": (n_expert,),
            "ffn_gate_exps.bias": (n_ff, n_expert),
            "ffn_down_exps.bias": (n_embd, n_expert),
            "ffn_up_exps.bias": (n_ff, n_expert),
        }
    if n_shared := shape.sizes.get("expert_shared_count"):
        dims |= _dense(n_embd, n_ff * n_shared, "_shexp")
    return dims


def _latent_attention(shape: Shape) -> Dims:
    n_embd, n_head, n_rot = shape.n_embd, shape.n_head, shape.n_embd_head
    rank = shape.sizes["attention.kv_lora_rank"]
    k, v = shape.sizes["attention.key_length_mla"], shape.sizes["attention.value_length_mla"]
    query: Dims = {"attn_q.weight": (n_embd, n_head * k)}
    if q_rank := shape.sizes.get("attention.q_lora_rank"):
        query = {
            "attn_q_a.weight": (n_embd, q_rank),
            "attn_q_a_norm.weight": (q_rank,),
            "attn_q_b.weight": (q_rank, n_head * k),
        }
    return {
        "attn_norm.weight": (n_embd,),
        **query,
        "attn_kv_a_mqa.weight": (n_embd, rank + n_rot),
        "attn_kv_a_norm.weight": (rank,),
        "attn_k_b.weight": (k - n_rot, rank, n_head),
        "attn_v_b.weight": (rank, v, n_head),
        "attn_output.weight": (n_head * v, n_embd),
        "ffn_norm.weight": (n_embd,),
    }


def _lfm2(shape: Shape, layer: int) -> Dims:
    n_embd = shape.n_embd
    feed_forward = {"ffn_norm.weight": (n_embd,), **_dense(n_embd, shape.n_ff)}
    if layer in LFM2_ATTENTION:
        return _attention(shape) | feed_forward
    convolution: Dims = {
        "attn_norm.weight": (n_embd,),
        "shortconv.conv.weight": (shape.sizes["shortconv.l_cache"], n_embd),
        "shortconv.in_proj.weight": (n_embd, 3 * n_embd),
        "shortconv.out_proj.weight": (n_embd, n_embd),
    }
    return convolution | feed_forward


def _mamba(shape: Shape) -> Dims:
    n_embd, inner = shape.n_embd, shape.sizes["ssm.inner_size"]
    state, rank = shape.sizes["ssm.state_size"], shape.sizes["ssm.time_step_rank"]
    return {
        "attn_norm.weight": (n_embd,),
        "ssm_in.weight": (n_embd, 2 * inner),
        "ssm_conv1d.weight": (shape.sizes["ssm.conv_kernel"], inner),
        "ssm_conv1d.bias": (inner,),
        "ssm_x.weight": (inner, rank + 2 * state),
        "ssm_dt.weight": (rank, inner),
        "ssm_dt.bias": (inner,),
        "ssm_a": (state, inner),
        "ssm_d": (inner,),
        "ssm_out.weight": (inner, n_embd),
    }
