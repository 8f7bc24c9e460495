"""The file describes the architecture that was trained: a second computation agrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tests.demo.player import Player


def _weights(path: Path) -> dict[str, Any]:
    return {
        t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors
    }


def _norm(x: Any, weight: Any) -> Any:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight


def _rope(x: Any) -> Any:
    """Rotate (time, heads, d) over neighbouring pairs, base 10,000."""
    time, _, d = x.shape
    angle = np.arange(time)[:, None, None] * 10000.0 ** (-np.arange(0, d, 2) / d)
    a, b = x[..., 0::2], x[..., 1::2]
    turned = (a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle))
    return np.stack(turned, -1).reshape(x.shape)


def _logits(w: dict[str, Any], ids: list[int], n_layer: int, d: int) -> Any:
    """Logits (n_vocab) after the last token, by the plain formulas of a Llama."""
    x = w["token_embd.weight"][ids]
    time = len(ids)
    future = np.triu(np.full((time, time), -np.inf), 1)
    for i in range(n_layer):
        b = {k.split(".", 2)[2]: v for k, v in w.items() if k.startswith(f"blk.{i}.")}
        h = _norm(x, b["attn_norm.weight"])
        q = _rope((h @ b["attn_q.weight"].T).reshape(time, -1, d))
        k = _rope((h @ b["attn_k.weight"].T).reshape(time, -1, d))
        v = (h @ b["attn_v.weight"].T).reshape(time, -1, d)
        k, v = (np.repeat(m, q.shape[1] // k.shape[1], 1) for m in (k, v))
        score = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(d) + future
        share = np.exp(score - score.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        x = x + np.einsum("hij,jhd->ihd", share, v).reshape(time, -1) @ b["attn_output.weight"].T
        h = _norm(x, b["ffn_norm.weight"])
        gate = h @ b["ffn_gate.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ b["ffn_up.weight"].T)) @ b["ffn_down.weight"].T
    return _norm(x[-1], w["output_norm.weight"]) @ w["token_embd.weight"].T


def test_llama_cpp_computes_what_the_trained_formulas_give(demo: Player, demo_path: Path) -> None:
    """To within the rounding of 8-bit activations, which llama.cpp uses on Q8_0 weights."""
    weights = _weights(demo_path)
    for question in ("Which command shows the plan?", "My name is Ada. What is 12 + 7?"):
        prompt = demo.prompt([{"role": "user", "content": question}])
        ids = demo.tokens(prompt, special=True)
        demo.forget()
        real, ours = demo.feed(ids), _logits(weights, ids, n_layer=4, d=64)
        assert int(real.argmax()) == int(ours.argmax())
        assert np.abs(real - ours).max() < 0.05 * np.abs(ours).max()
        assert np.corrcoef(real, ours)[0, 1] > 0.999
