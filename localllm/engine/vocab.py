"""Tokens to bytes and text to tokens, over llama.cpp's vocabulary."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable
from typing import NamedTuple

from localllm.engine.llama import EMPTY_TOKEN, C

_PIECE_BYTES = 256
"""The longest piece of Llama 3's vocabulary has 128 bytes; longer ones are asked for again."""


class Known(NamedTuple):
    """What there is to know of a token that was drawn."""

    ends: bool
    """It ends the answer."""
    piece: bytes
    """Its bytes; none for a control token that is not a marker."""
    text: str | None
    """The same as text; None where the bytes are no whole characters."""


class KnownTokens(dict[int, Known]):
    """Tokens by number, asked for when they are met first: a look-up costs a tenth of asking."""

    def __init__(self, vocab: Vocab) -> None:
        """Know nothing yet."""
        super().__init__()
        self._vocab = vocab

    def __missing__(self, token: int) -> Known:
        """Ask llama.cpp, and remember."""
        piece = self._vocab.piece(token)
        text: str | None = None
        with contextlib.suppress(UnicodeDecodeError):
            text = piece.decode("utf-8")
        ends = bool(C.llama_vocab_is_eog(self._vocab.pointer, token))
        known = self[token] = Known(ends, piece, text)
        return known


class Vocab:
    """The vocabulary of a loaded model."""

    def __init__(self, model: int) -> None:
        """Borrow the vocabulary; the model must outlive it."""
        self.pointer = C.llama_model_get_vocab(model)
        self.n_tokens: int = C.llama_vocab_n_tokens(self.pointer)
        self.bos: int = C.llama_vocab_bos(self.pointer)
        self.eos: int = C.llama_vocab_eos(self.pointer)
        self.adds_bos: bool = C.llama_vocab_get_add_bos(self.pointer) and self.bos != EMPTY_TOKEN
        self.known = KnownTokens(self)
        self._buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        self._printed: frozenset[int] = frozenset()

    def text(self, token: int) -> str:
        """Return a token as the vocabulary spells it; empty for a token that does not exist."""
        if not 0 <= token < self.n_tokens:
            return ""
        return str(C.llama_vocab_get_text(self.pointer, token).decode("utf-8", "replace"))

    def find(self, texts: Iterable[str]) -> dict[str, int]:
        """Return those of the texts that are one token."""
        found = {}
        for text in texts:
            tokens = self.tokenize(text, special=True)
            if len(tokens) == 1 and self.text(tokens[0]) == text:
                found[text] = tokens[0]
        return found

    def print_always(self, tokens: Iterable[int]) -> None:
        """Print these tokens although they are control tokens, which otherwise have no bytes."""
        self._printed = frozenset(tokens)
        self.known.clear()

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token; none for a control token that is not a marker."""
        special = token in self._printed
        size = len(self._buffer)
        n = C.llama_token_to_piece(self.pointer, token, self._buffer, size, 0, special)
        if n < 0:
            self._buffer = ctypes.create_string_buffer(-n)
            n = C.llama_token_to_piece(self.pointer, token, self._buffer, -n, 0, special)
        return self._buffer.raw[:n] if n < 64 else ctypes.string_at(self._buffer, n)

    def tokenize(self, text: str, *, special: bool, add_special: bool = False) -> list[int]:
        """Return the tokens of a text; ``special``: markup like ``<|im_start|>`` is one token."""
        data = text.encode("utf-8", "replace")
        size = len(data) + 16
        while True:
            tokens = (ctypes.c_int32 * size)()
            n = C.llama_tokenize(self.pointer, data, len(data), tokens, size, add_special, special)
            if n >= 0:
                return list(tokens[:n])
            size = -n

    def tokenize_rendered(self, text: str) -> list[int]:
        """Return the tokens of a rendered template, which writes BOS itself or leaves it to us."""
        tokens = self.tokenize(text, special=True)
        if self.adds_bos and (not tokens or tokens[0] != self.bos):
            tokens.insert(0, self.bos)
        return tokens
