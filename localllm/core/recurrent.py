"""The state of a recurrent block: how wide its two rows are, whatever kind of block it is.

``src/llama-hparams.cpp`` (``n_embd_r``, ``n_embd_s``), llama.cpp as llama-cpp-python 0.3.36 vendors
it. A state does not grow with the context.
"""

from __future__ import annotations

from localllm.core.model import ModelSpec


def n_embd_r(model: ModelSpec) -> int:
    """Elements of the convolution's tail, or of RWKV's shifted tokens (``llama-hparams.cpp:185``).

    RWKV: ``token_shift_count * E``. LFM2: ``E * (l_cache - 1)``. Delta attention (Kimi): Q, K and V
    of ``n_head * head``, ``d_conv - 1`` each (3 without the key). Else Mamba's
    ``(d_conv - 1) * (d_inner + 2 * n_group * d_state)``.
    """
    if model.wkv_head_size:
        return model.token_shift_count * model.n_embd
    if model.n_shortconv_l_cache:
        return model.n_embd * (model.n_shortconv_l_cache - 1)
    if model.n_embd_head_kda:
        n_tail = model.ssm_d_conv - 1 if model.ssm_d_conv else 3
        return 3 * n_tail * model.layers[0].n_head * model.n_embd_head_kda
    width = model.ssm_d_inner + 2 * model.ssm_n_group * model.ssm_d_state
    return max(model.ssm_d_conv - 1, 0) * width


def n_embd_s(model: ModelSpec) -> int:
    """Elements of the state itself (``llama-hparams.cpp:217``).

    RWKV: ``E * head``. Delta and lightning attention: ``head * head`` for each head. Else Mamba's
    ``d_state * d_inner``, which is 0 for a short convolution.
    """
    if model.wkv_head_size:
        return model.n_embd * model.wkv_head_size
    for head in (model.n_embd_head_kda, model.n_embd_head_la):
        if head:
            return head * head * model.layers[0].n_head
    return model.ssm_d_state * model.ssm_d_inner
