"""What the context remembers: the tokens of sequence 0, kept in step with llama.cpp's memory.

Every change of the KV cache goes through here, so that the next prompt can reuse the longest
common prefix and an interrupted one leaves a known state.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from localllm.engine.llama import C

DECODED, ABORTED = 0, 2
"""Return codes of ``llama_decode`` that are not errors."""


class ContextMemory:
    """Tokens in the cache of a context, one sequence."""

    def __init__(self, model: int, context: int) -> None:
        """Start empty."""
        self._context = context
        self._memory = C.llama_get_memory(context)
        self._n_swa: int = C.llama_model_n_swa(model)
        self.n_ctx: int = C.llama_n_ctx_seq(context)
        self.tokens: list[int] = []
        self.can_shift: bool = bool(C.llama_memory_can_shift(self._memory))
        self._decode = C.llama_decode
        self._one = (ctypes.c_int32 * 1)()
        self._batch_of_one = C.llama_batch_get_one(self._one, 1)

    def keep_common_prefix(self, prompt: Sequence[int]) -> int:
        """Forget what differs from ``prompt`` and return how many of its tokens need no work.

        At least the last token is left to be decoded, because its logits are needed.
        """
        limit = min(len(self.tokens), len(prompt) - 1)
        n_keep = limit if self.tokens[:limit] == list(prompt[:limit]) else 0
        while n_keep < limit and self.tokens[n_keep] == prompt[n_keep]:
            n_keep += 1
        return n_keep if self.rollback(n_keep) else 0

    def rollback(self, n_keep: int) -> bool:
        """Keep the first ``n_keep`` tokens; or none, and return False, where that cannot be.

        A sliding window has already lost what is older, and a recurrent state cannot go back.
        """
        if n_keep == len(self.tokens):
            return True
        if (
            n_keep > 0
            and self._window_reaches(n_keep)
            and C.llama_memory_seq_rm(self._memory, 0, n_keep, -1)
        ):
            del self.tokens[n_keep:]
            return True
        self.clear()
        return n_keep == 0

    def _window_reaches(self, n_keep: int) -> bool:
        """Return whether a sliding window that ends at ``n_keep`` is still in the cache."""
        if self._n_swa <= 0:
            return True
        first: int = C.llama_memory_seq_pos_min(self._memory, 0)
        return first <= max(0, n_keep - self._n_swa)

    def clear(self) -> None:
        """Forget everything."""
        C.llama_memory_clear(self._memory, False)
        self.tokens.clear()

    def decode(self, tokens: Sequence[int], *, logits: bool = True) -> int:
        """Append tokens and compute the logits of the last, if wanted; return llama.cpp's code.

        At most ``n_batch`` tokens, or the process aborts. A sampler in the graph draws once for
        every row of logits, so a seed's answer depends on there being one per token.
        """
        array = (ctypes.c_int32 * len(tokens))(*tokens)
        batch = C.llama_batch_get_one(array, len(tokens))
        if not logits:
            batch.logits = (ctypes.c_int8 * len(tokens))()
        code: int = C.llama_decode(self._context, batch)
        if code == DECODED:
            self.tokens.extend(tokens)
        else:
            self.resync(tokens)
        return code

    def append(self, token: int) -> int:
        """Decode one token, in a batch that is made once; return llama.cpp's code."""
        self._one[0] = token
        code: int = self._decode(self._context, self._batch_of_one)
        if code == DECODED:
            self.tokens.append(token)
        else:
            self.resync((token,))
        return code

    def resync(self, attempted: Sequence[int]) -> None:
        """After an interrupted decode: some whole micro-batches of it may have been kept."""
        n_kept: int = C.llama_memory_seq_pos_max(self._memory, 0) + 1
        self.tokens = [*self.tokens, *attempted][:n_kept]

    def shift(self, n_keep: int) -> bool:
        """Drop the older half of what follows the first ``n_keep`` tokens, if the memory can."""
        n_discard = (len(self.tokens) - n_keep) // 2
        if not self.can_shift or n_discard <= 0:
            return False
        if not C.llama_memory_seq_rm(self._memory, 0, n_keep, n_keep + n_discard):
            return False
        C.llama_memory_seq_add(self._memory, 0, n_keep + n_discard, -1, -n_discard)
        del self.tokens[n_keep : n_keep + n_discard]
        return True
