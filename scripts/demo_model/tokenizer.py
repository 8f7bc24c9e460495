"""Decides how the demo model cuts text into tokens: byte-fallback SentencePiece BPE, trained here.

llama.cpp's "llama" tokenizer starts from single characters and keeps joining the neighbouring pair
whose joined text has the highest score, the leftmost on a tie; characters without a token become
their UTF-8 bytes. `Tokenizer.encode` does the same, so that training sees what inference will see.
The trainer only learns pieces inside one chunk (a word with its leading space, a run of
punctuation); a digit is always a token of its own, which is what makes arithmetic learnable.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

UNK, BOS, END, USER, ASSISTANT, SYSTEM = range(6)
SPECIALS = ("<unk>", "<|bos|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>")
FIRST_BYTE = len(SPECIALS)
FIRST_CHAR = FIRST_BYTE + 256
SPACE = "\u2581"  # what SentencePiece writes for a space
CHARS = SPACE + "".join(chr(c) for c in range(33, 127))

# The kinds of a GGUF token, from llama.h: enum llama_token_type.
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6

_CHUNK = re.compile(f"{SPACE}?[A-Za-z]+|[0-9]|{SPACE}?[^A-Za-z0-9{SPACE}\\n]+|{SPACE}|\\n")


@dataclass(slots=True, kw_only=True)
class Tokenizer:
    """A vocabulary in GGUF order: specials, 256 bytes, characters, learned pieces by rank."""

    pieces: list[str]
    _ids: dict[str, int] = field(init=False)
    _cache: dict[str, list[int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Index the pieces that plain text can reach: no special and no byte token."""
        self._ids = {p: i for i, p in enumerate(self.pieces) if i >= FIRST_CHAR}

    def scores(self) -> list[float]:
        """Score of every token: an earlier learned piece joins first."""
        learned = FIRST_CHAR + len(CHARS)
        return [
            0.0 if i < FIRST_CHAR else float(min(learned - i, 0)) for i in range(len(self.pieces))
        ]

    def kinds(self) -> list[int]:
        """GGUF token type of every token."""
        fixed = [UNKNOWN] + [CONTROL] * (len(SPECIALS) - 1) + [BYTE] * 256
        return fixed + [NORMAL] * (len(self.pieces) - len(fixed))

    def encode(self, text: str) -> list[int]:
        """Tokens of plain text; specials in it are ordinary text."""
        out: list[int] = []
        for chunk in _CHUNK.findall(text.replace(" ", SPACE)):
            ids = self._cache.get(chunk)
            if ids is None:
                ids = self._cache[chunk] = self._encode_chunk(chunk)
            out += ids
        return out

    def decode(self, ids: Iterable[int]) -> str:
        """Text of tokens, specials left out; bytes that form no UTF-8 become U+FFFD."""
        raw = bytearray()
        for i in ids:
            if i >= FIRST_CHAR:
                raw += self.pieces[i].replace(SPACE, " ").encode()
            elif i >= FIRST_BYTE:
                raw.append(i - FIRST_BYTE)
        return raw.decode("utf-8", "replace")

    def _encode_chunk(self, chunk: str) -> list[int]:
        parts = list(chunk)
        while len(parts) > 1:
            # A lower id is a better score among learned pieces, and only they are joins.
            joins = [
                (self._ids[parts[i] + parts[i + 1]], i)
                for i in range(len(parts) - 1)
                if parts[i] + parts[i + 1] in self._ids
            ]
            if not joins:
                break
            _, at = min(joins)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        ids: list[int] = []
        for part in parts:
            known = self._ids.get(part)
            if known is not None:
                ids.append(known)
            else:
                ids += [FIRST_BYTE + b for b in part.replace(SPACE, " ").encode()]
        return ids


def train(texts: Iterable[str], n_vocab: int) -> Tokenizer:
    """Learn byte-pair pieces from texts until the vocabulary holds `n_vocab` tokens."""
    counts = Counter(c for text in texts for c in _CHUNK.findall(text.replace(" ", SPACE)))
    words = {w: [c for c in w] for w in counts if len(w) > 1 and all(c in CHARS for c in w)}
    pairs: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], set[str]] = {}
    for word, parts in words.items():
        for pair in pairwise(parts):
            pairs[pair] += counts[word]
            where.setdefault(pair, set()).add(word)
    pieces = [*SPECIALS, *(f"<0x{b:02X}>" for b in range(256)), *CHARS]
    known = set(pieces)
    while len(pieces) < n_vocab and pairs:
        best = max(pairs, key=lambda p: (pairs[p], p))
        if pairs[best] <= 0:
            break
        piece = best[0] + best[1]
        if piece not in known:
            pieces.append(piece)
            known.add(piece)
        for word in sorted(where.pop(best)):
            parts = words[word]
            for pair in pairwise(parts):
                pairs[pair] -= counts[word]
            at = 0
            while at < len(parts) - 1:
                if (parts[at], parts[at + 1]) == best:
                    parts[at : at + 2] = [piece]
                at += 1
            for pair in pairwise(parts):
                pairs[pair] += counts[word]
                where.setdefault(pair, set()).add(word)
        del pairs[best]
    return Tokenizer(pieces=pieces)
