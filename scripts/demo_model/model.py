"""Decides the shape of the demo model: a small Llama, in PyTorch, as llama.cpp computes it.

RMSNorm, grouped-query attention with rotary embedding over neighbouring pairs (llama.cpp's NORM
rope, so Q and K need no reordering on export), SwiGLU, tied embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Hyperparameters, by llama.cpp's names. Heads are 64 wide, which every GPU kernel knows."""

    n_vocab: int
    n_ctx_train: int = 1024
    n_embd: int = 256
    n_layer: int = 4
    n_head: int = 4
    n_head_kv: int = 2
    n_ff: int = 512
    rope_freq_base: float = 10000.0
    norm_rms_eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.n_embd // self.n_head


class Norm(nn.Module):
    """Root-mean-square normalisation with a learned scale."""

    def __init__(self, n: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))
        self.eps = eps

    def forward(self, x: Any) -> Any:
        """Scale (..., n) to unit mean square."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Block(nn.Module):
    """One layer: attention, then the gated feed-forward network, each with its residual."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.s = s
        kv = s.n_head_kv * s.head_dim
        self.attn_norm = Norm(s.n_embd, s.norm_rms_eps)
        self.attn_q = nn.Linear(s.n_embd, s.n_embd, bias=False)
        self.attn_k = nn.Linear(s.n_embd, kv, bias=False)
        self.attn_v = nn.Linear(s.n_embd, kv, bias=False)
        self.attn_output = nn.Linear(s.n_embd, s.n_embd, bias=False)
        self.ffn_norm = Norm(s.n_embd, s.norm_rms_eps)
        self.ffn_gate = nn.Linear(s.n_embd, s.n_ff, bias=False)
        self.ffn_up = nn.Linear(s.n_embd, s.n_ff, bias=False)
        self.ffn_down = nn.Linear(s.n_ff, s.n_embd, bias=False)

    def forward(self, x: Any, cos: Any, sin: Any) -> Any:
        """(batch, time, n_embd) to the same."""
        b, t, _ = x.shape
        d = self.s.head_dim
        h = self.attn_norm(x)
        q = rotate(self.attn_q(h).view(b, t, self.s.n_head, d).transpose(1, 2), cos, sin)
        k = rotate(self.attn_k(h).view(b, t, self.s.n_head_kv, d).transpose(1, 2), cos, sin)
        v = self.attn_v(h).view(b, t, self.s.n_head_kv, d).transpose(1, 2)
        group = self.s.n_head // self.s.n_head_kv
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_output(a.transpose(1, 2).reshape(b, t, -1))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Llama(nn.Module):
    """The whole model; `forward` gives logits (batch, time, n_vocab)."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.s = s
        self.token_embd = nn.Embedding(s.n_vocab, s.n_embd)
        self.blk = nn.ModuleList(Block(s) for _ in range(s.n_layer))
        self.output_norm = Norm(s.n_embd, s.norm_rms_eps)
        angle = torch.arange(s.n_ctx_train)[:, None] * s.rope_freq_base ** (
            -torch.arange(0, s.head_dim, 2) / s.head_dim
        )
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                into_residual = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(p, std=0.04 / (math.sqrt(2 * s.n_layer) if into_residual else 1))

    def hidden(self, ids: Any) -> Any:
        """Final normalised state (batch, time, n_embd) of token ids (batch, time)."""
        t = ids.shape[1]
        x = self.token_embd(ids)
        for block in self.blk:
            x = block(x, self.cos[:t], self.sin[:t])
        return self.output_norm(x)

    def forward(self, ids: Any) -> Any:
        """Logits (batch, time, n_vocab) of token ids (batch, time)."""
        return F.linear(self.hidden(ids), self.token_embd.weight)


def rotate(x: Any, cos: Any, sin: Any) -> Any:
    """Rotary embedding of (batch, heads, time, d) over the pairs (0,1), (2,3), ..."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
