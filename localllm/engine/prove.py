"""The proof run: fill the context once, so that what dies of memory dies before "ready".

KV cache and compute buffers are allocated at the load, but not everything is: pools of GPU
backends grow with the first batch of a new shape, pages of a KV cache come with the first write,
and of the mapped weights with the first read. So first a short prompt and a token, then random
tokens up to the planned context, in the chunks that an answer would take, and one token more.
Random, because a mixture of experts reads the experts that its tokens ask for.
"""

from __future__ import annotations

import random
import time

from localllm.core.generation import PromptProgress, Proved
from localllm.engine.llama import C
from localllm.engine.loop import Engine
from localllm.engine.memory import ABORTED, DECODED
from localllm.engine.refusals import Cancelled, undecoded
from localllm.engine.wire import Wire

_N_SHORT = 16


def run(engine: Engine, wire: Wire) -> Proved:
    """Read a short prompt, then one that leaves room for a single token, and forget both.

    Raises ``LocalLLMError``: ``Cancelled``, ``OutOfMemory`` ...
    """
    engine.drawing.release()
    wire.trusts_cpu_time = not engine.on_gpu_only
    try:
        return _Proof(engine, wire).run()
    finally:
        wire.trusts_cpu_time = True
        engine.memory.clear()


class _Proof:
    def __init__(self, engine: Engine, wire: Wire) -> None:
        self._engine, self._wire = engine, wire
        self._random = random.Random(0)

    def run(self) -> Proved:
        """Return how long both prompts took."""
        began_s = time.monotonic()
        n_tokens = self._engine.memory.n_ctx - 1
        self._wire.emit(PromptProgress(n_done=0, n_total=n_tokens, n_cached=0))
        self._read(min(_N_SHORT, n_tokens), shown=False)
        self._read(n_tokens, shown=True)
        return Proved(n_tokens=n_tokens, seconds=time.monotonic() - began_s)

    def _read(self, n_tokens: int, *, shown: bool) -> None:
        """Evaluate a prompt from an empty memory, and one token after it."""
        memory, n_done = self._engine.memory, 0
        memory.clear()
        while n_done < n_tokens:
            chunk = self._draw(min(self._engine.chunk_at(n_done), n_tokens - n_done))
            self._expect(memory.decode(chunk))
            n_done += len(chunk)
            if shown:
                C.llama_synchronize(self._engine.context)  # or a GPU would only have heard of it
                self._wire.emit(PromptProgress(n_done=n_done, n_total=n_tokens, n_cached=0))
        self._expect(memory.append(self._draw(1)[0]))
        C.llama_synchronize(self._engine.context)

    def _draw(self, n_tokens: int) -> list[int]:
        n_vocab = self._engine.vocab.n_tokens
        return [self._random.randrange(n_vocab) for _ in range(n_tokens)]

    def _expect(self, code: int) -> None:
        self._wire.mark()
        if code == ABORTED or self._wire.cancelled:
            raise Cancelled("The proof run was cancelled.")
        if code != DECODED:
            raise undecoded(code)
