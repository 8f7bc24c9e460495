"""What a person wants measured, and what is proposed to somebody who has not said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from localllm.benching.countdown import pieces_of
from localllm.benching.rules import Rules, rules_of
from localllm.core.bench.progress import seconds_left
from localllm.core.bench.setup import Mode
from localllm.core.bench.tests import bench_tests
from localllm.core.generation import BenchTest
from localllm.core.plan import Plan
from localllm.core.prediction import predicted_test

Estimate = tuple[BenchTest, float]
"""A test, and the tokens per second that are expected of it."""

PATIENCE_S = 60.0
"""What is proposed ends within this, by the estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Tests, and how they are measured."""

    mode: Mode = "standard"
    prompts: tuple[int, ...]
    """Prompt tokens, a test for each; 0 leaves it out."""
    gens: tuple[int, ...]
    """Generated tokens, likewise."""
    pairs: tuple[tuple[int, int], ...] = ()
    """Prompt and generated tokens of tests of both."""
    depths: tuple[int, ...] = (0,)
    """Tokens already in the context; every test at each."""
    repetitions: int | None = None
    """None: as many as the kind of run has."""
    delay_s: float | None = None
    """Before each test; None likewise."""
    chat: bool = True
    """Whether sampled answers are streamed at the end."""

    @property
    def rules(self) -> Rules:
        """How it is measured."""
        return rules_of(
            self.mode, repetitions=self.repetitions, delay_s=self.delay_s, chat=self.chat
        )

    @property
    def tests(self) -> tuple[BenchTest, ...]:
        """The tests in their order. Raises UsageError where there is none."""
        return bench_tests(
            prompts=self.prompts,
            gens=self.gens,
            pairs=self.pairs,
            depths=self.depths,
            repetitions=self.rules.repetitions,
        )


def usual(mode: Mode) -> Wanted:
    """Return llama-bench's own tests, or short ones for a quick run."""
    if mode == "quick":
        return Wanted(mode=mode, prompts=(128,), gens=(32,))
    return Wanted(mode=mode, prompts=(512,), gens=(128,))


def estimates(plan: Plan, tests: Iterable[BenchTest]) -> tuple[Estimate, ...]:
    """Return what a plan expects of tests; nothing of those of which it expects nothing."""
    found = (
        (test, predicted_test(plan, n_prompt=test.n_prompt, n_gen=test.n_gen, depth=test.n_depth))
        for test in tests
    )
    return tuple((test, one.tok_s) for test, one in found if one is not None)


def expected_s(plan: Plan, wanted: Wanted) -> float | None:
    """Return how long a run is expected to take once the model is loaded; None if unknown."""
    pieces = pieces_of([plan], wanted.tests, wanted.rules)
    return seconds_left([piece.work for piece in pieces if piece.work.kind != "load"], ())


def proposed(plan: Plan, *, most_tokens: int | None = None) -> Wanted:
    """Return the most telling run that ends within a minute by the estimate, else the shortest.

    ``most_tokens``: what the context may hold; None for as much as anybody wants.
    """
    possible = [
        wanted
        for wanted in _from_the_most_telling(most_tokens or _DEEPEST[0] * 2)
        if most_tokens is None or _most_tokens(wanted) <= most_tokens
    ]
    for wanted in possible:
        seconds = expected_s(plan, wanted)
        if seconds is not None and seconds <= PATIENCE_S:
            return wanted
    return possible[-1] if possible else replace(usual("quick"), chat=False)


_DEEPEST = (16384, 8192, 4096, 2048, 1024)
_LEAST_DEPTH = 128


def _from_the_most_telling(most_tokens: int) -> Iterator[Wanted]:
    """Yield runs with a curve over the depth as far as there is time for one, then without."""
    standard, quick = replace(usual("standard"), chat=False), replace(usual("quick"), chat=False)
    for sized in (standard, replace(quick, mode="standard")):
        room = most_tokens - _most_tokens(sized)
        depths = [depth for depth in _DEEPEST if depth <= room]
        for deepest in depths or ([room] if room >= _LEAST_DEPTH else []):
            yield replace(sized, depths=(0, deepest // 4, deepest // 2, deepest))
    yield standard
    yield quick


def _most_tokens(wanted: Wanted) -> int:
    return max(test.n_prompt + test.n_gen + test.n_depth for test in wanted.tests)
