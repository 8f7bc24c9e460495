"""A model that recites a text, a token after the other, at the speed that its weights' size gives.

Every piece of the text is one token, and the output layer answers each with the next: whatever is
asked, and however tokens are drawn, the same text comes, with its headings, lists and code. The
blocks between add nothing (their weights are zeros), but have to be read and multiplied as any.
"""

from __future__ import annotations

import random
import re
import struct
from pathlib import Path

from tests.support.gguf_writer import (
    F32,
    I32,
    Tensor,
    Value,
    array,
    boolean,
    string,
    strings,
    u32,
    write_gguf,
)
from tests.support.gguf_writer import f32 as float32

N_EMBD = 256
N_LAYER = 8
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_PIECE = re.compile(r"\s*\S{1,5}")
_CERTAIN = 0.25
"""By which an output row is scaled: the next token is e^30 times likelier than any other."""


def write_reciter(path: Path, text: str, *, n_bytes: int) -> Path:
    """Write a model of about ``n_bytes`` that recites a text, and then ends."""
    pieces = pieces_of(text)
    tokens = ["<unk>", "<s>", "</s>", "<|go|>", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [_UNKNOWN, _CONTROL, _CONTROL, _CONTROL, *[_BYTE] * 256]
    first = len(tokens)
    tokens += [piece.replace(" ", "\u2581") for piece in pieces]
    types += [_NORMAL] * len(pieces)
    n_ff = max(n_bytes * 32 // (34 * 3 * N_EMBD * N_LAYER) // 256, 1) * 256
    follows = {3: first} | {first + i: first + i + 1 for i in range(len(pieces) - 1)}
    follows[len(tokens) - 1] = 2
    vectors = _vectors(len(tokens))
    output = [bytes(4 * N_EMBD)] * len(tokens)
    for token, following in follows.items():
        output[following] = _packed([_CERTAIN * x for x in vectors[token]])

    def fill(tensor: Tensor) -> bytes:
        if tensor.name == "token_embd.weight":
            return b"".join(map(_packed, vectors))
        if tensor.name == "output.weight":
            return b"".join(output)
        if tensor.name.endswith("_norm.weight"):
            return _packed([1.0] * tensor.n_elements)
        return b""  # a hole

    keys = _keys(tokens, types, n_ff=n_ff)
    return write_gguf(path, keys, _tensors(len(tokens), n_ff), fill=fill)


def pieces_of(text: str) -> list[str]:
    """Cut a text into pieces of some five characters, no two of them alike."""
    pieces: dict[str, None] = {}
    piece = ""
    for part in _PIECE.findall(text):
        piece += part
        if piece not in pieces:
            pieces[piece] = None
            piece = ""
    return list(pieces)


def _vectors(n: int) -> list[list[float]]:
    rng = random.Random(0)
    return [[rng.choice((-1.0, 1.0)) for _ in range(N_EMBD)] for _ in range(n)]


def _packed(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def _keys(tokens: list[str], types: list[int], *, n_ff: int) -> dict[str, Value]:
    return {
        "general.architecture": string("llama"),
        "general.type": string("model"),
        "general.name": string("Reciter"),
        "general.file_type": u32(7),
        "general.quantization_version": u32(2),
        "llama.block_count": u32(N_LAYER),
        "llama.context_length": u32(65_536),
        "llama.embedding_length": u32(N_EMBD),
        "llama.feed_forward_length": u32(n_ff),
        "llama.attention.head_count": u32(4),
        "llama.attention.head_count_kv": u32(2),
        "llama.attention.layer_norm_rms_epsilon": float32(1e-5),
        "llama.rope.dimension_count": u32(N_EMBD // 4),
        "llama.vocab_size": u32(len(tokens)),
        "tokenizer.ggml.model": string("llama"),
        "tokenizer.ggml.pre": string("default"),
        "tokenizer.ggml.tokens": strings(tokens),
        "tokenizer.ggml.scores": array(F32, [-float(i) for i in range(len(tokens))]),
        "tokenizer.ggml.token_type": array(I32, types),
        "tokenizer.ggml.unknown_token_id": u32(0),
        "tokenizer.ggml.bos_token_id": u32(1),
        "tokenizer.ggml.eos_token_id": u32(2),
        "tokenizer.ggml.add_bos_token": boolean(False),
        "tokenizer.ggml.add_space_prefix": boolean(False),
        "tokenizer.chat_template": string(
            "{% for message in messages %}{{ message['content'] }}\n{% endfor %}<|go|>"
        ),
    }


def _tensors(n_vocab: int, n_ff: int) -> list[Tensor]:
    found = [Tensor("token_embd.weight", "f32", (N_EMBD, n_vocab))]
    for i in range(N_LAYER):
        for name, shape in (
            ("attn_norm", (N_EMBD,)),
            ("attn_q", (N_EMBD, N_EMBD)),
            ("attn_k", (N_EMBD, N_EMBD // 2)),
            ("attn_v", (N_EMBD, N_EMBD // 2)),
            ("attn_output", (N_EMBD, N_EMBD)),
            ("ffn_norm", (N_EMBD,)),
            ("ffn_gate", (N_EMBD, n_ff)),
            ("ffn_up", (N_EMBD, n_ff)),
            ("ffn_down", (n_ff, N_EMBD)),
        ):
            kind = "f32" if name.endswith("norm") else "q8_0"
            found.append(Tensor(f"blk.{i}.{name}.weight", kind, shape))
    found.append(Tensor("output_norm.weight", "f32", (N_EMBD,)))
    found.append(Tensor("output.weight", "f32", (N_EMBD, n_vocab)))
    return found
