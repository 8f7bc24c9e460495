"""The tests of a bench run, in llama-bench's order, and the context that they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from localllm.core.bench.sweep import Axes
from localllm.core.generation import BenchTest
from localllm.core.policy import Policy
from localllm.errors import UsageError

CHAT_N_CTX = 256
"""Room for the sampled answer; llama.cpp pads every context to so many tokens anyway."""

MOST_TESTS = 10_000
"""More than anybody waits for: a slip in a range."""


def bench_tests(
    *,
    prompts: Sequence[int],
    gens: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    depths: Sequence[int],
    repetitions: int,
) -> tuple[BenchTest, ...]:
    """Return the tests in llama-bench's order: for each depth prompts, generations, the pairs.

    Raises UsageError when nothing is left to measure.
    """
    shapes = [(n, 0) for n in prompts if n] + [(0, n) for n in gens if n] + list(pairs)
    if not shapes:
        raise UsageError("Nothing to measure.", hint="Give -p or -n a number above 0.")
    return tuple(
        BenchTest(n_prompt=p, n_gen=g, n_depth=depth, repetitions=repetitions)
        for depth in depths
        for p, g in shapes
    )


def check_size(n_models: int, axes: Axes, tests: Sequence[BenchTest]) -> None:
    """Raise UsageError for more tests than anybody can have meant."""
    n_tests = n_models * len(axes) * len(tests)
    if n_tests > MOST_TESTS:
        raise UsageError(
            f"That makes {n_tests:,} tests.",
            hint=f"Lists multiply each other; {MOST_TESTS:,} tests are the most.",
        )


def bench_policy(
    policy: Policy,
    tests: Sequence[BenchTest],
    *,
    chat: bool = False,
    n_ctx_train: int | None = None,
) -> Policy:
    """Return the policy with the context that the largest test needs, and the sampled answer.

    Raises UsageError for a ``--ctx`` or a model that is too small for a test.
    """
    needed = max(test.n_prompt + test.n_gen + test.n_depth for test in tests)
    if isinstance(policy.n_ctx, int) and policy.n_ctx < needed:
        raise UsageError(
            f"The tests need a context of {needed:,} tokens; --ctx allows {policy.n_ctx:,}.",
            hint="Leave --ctx out: bench takes what its largest test needs.",
        )
    if n_ctx_train and n_ctx_train < needed:
        raise UsageError(
            f"The tests need a context of {needed:,} tokens; the model was trained for "
            f"{n_ctx_train:,}.",
            hint="Give smaller numbers to -p, -n or -d.",
        )
    if policy.n_ctx is not None:
        return policy
    roomy = max(needed, min(CHAT_N_CTX, n_ctx_train or CHAT_N_CTX))
    return replace(policy, n_ctx=roomy if chat else needed)
