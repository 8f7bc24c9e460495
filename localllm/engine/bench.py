"""Bench tests as llama-bench runs them, so that the figures compare.

A test is prompt tokens, then generated tokens, at a depth. Per repetition: memory cleared, the
depth evaluated untimed, then wall time around the rest. Tokens are random (the speed of a mixture
of experts depends on them), the prompt starts with BOS and goes in chunks of ``n_batch``;
generation decodes and synchronises, and neither samples nor makes text. The warm-up is the whole
prompt, or one token.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from localllm.core.generation import BenchDone, BenchSample, BenchTest
from localllm.engine.llama import C
from localllm.engine.loop import Engine
from localllm.engine.memory import ABORTED, DECODED
from localllm.engine.peak import peak_rss_bytes
from localllm.engine.refusals import Cancelled, undecoded
from localllm.engine.wire import Wire
from localllm.errors import UsageError


def run(engine: Engine, tests: Sequence[BenchTest], wire: Wire) -> BenchDone:
    """Run tests in order, with a sample event per repetition. Raises ``LocalLLMError``."""
    for test in tests:
        _check(test, engine.memory.n_ctx)
    engine.drawing.release()
    wire.trusts_cpu_time = not engine.on_gpu_only
    try:
        for test in tests:
            _Bench(engine, wire, test).run()
    finally:
        wire.trusts_cpu_time = True
        engine.memory.clear()
    return BenchDone(peak_rss_bytes=peak_rss_bytes())


def _check(test: BenchTest, n_ctx: int) -> None:
    counts = (test.n_prompt, test.n_gen, test.n_depth)
    if min(counts) < 0 or test.n_prompt + test.n_gen == 0 or test.repetitions < 1:
        raise UsageError("A bench test needs prompt or generated tokens, and a repetition.")
    if sum(counts) > n_ctx:
        raise UsageError(
            f"{test.label} needs a context of {sum(counts):,} tokens, and this one has {n_ctx:,}.",
            hint="Load the model with a larger --ctx.",
        )


class _Bench:
    def __init__(self, engine: Engine, wire: Wire, test: BenchTest) -> None:
        self._engine, self._wire, self._test = engine, wire, test
        self._random = random.Random(0)
        self._n_batch: int = C.llama_n_batch(engine.context)

    def run(self) -> None:
        """Warm up, then repeat, with a sample for each."""
        test = self._test
        self._engine.memory.clear()
        self._measure(0, self._draw(test.n_prompt), self._draw(min(test.n_gen, 1)))
        for repetition in range(1, test.repetitions + 1):
            self._go_to_depth()
            self._measure(repetition, self._draw(test.n_prompt), self._draw(test.n_gen))

    def _measure(self, repetition: int, prompt: list[int], generated: list[int]) -> None:
        began_ns = time.monotonic_ns()
        if prompt:
            self._prompt(prompt)
        if generated:
            self._generate(generated)
        ns = time.monotonic_ns() - began_ns
        sample = BenchSample(test=self._test, repetition=repetition, ns=ns, began_s=began_ns / 1e9)
        self._wire.emit(sample)

    def _draw(self, n_tokens: int) -> list[int]:
        """Return random tokens, the first of them BOS where the model wants one."""
        vocab = self._engine.vocab
        tokens = [self._random.randrange(vocab.n_tokens) for _ in range(n_tokens)]
        if tokens and vocab.adds_bos:
            tokens[0] = vocab.bos
        return tokens

    def _go_to_depth(self) -> None:
        """Leave exactly the depth in memory: what is there already is cut back where that works."""
        memory = self._engine.memory
        if self._test.n_depth == 0:
            memory.clear()
        elif len(memory.tokens) < self._test.n_depth or not memory.rollback(self._test.n_depth):
            memory.clear()
            self._prompt(self._draw(self._test.n_depth))

    def _prompt(self, tokens: list[int]) -> None:
        for start in range(0, len(tokens), self._n_batch):
            self._expect(self._engine.memory.decode(tokens[start : start + self._n_batch]))
        C.llama_synchronize(self._engine.context)

    def _generate(self, tokens: list[int]) -> None:
        for token in tokens:
            self._expect(self._engine.memory.append(token))
            C.llama_synchronize(self._engine.context)

    def _expect(self, code: int) -> None:
        self._wire.mark()
        if code == ABORTED or self._wire.cancelled:
            raise Cancelled("The benchmark was cancelled.")
        if code != DECODED:
            raise undecoded(code)
