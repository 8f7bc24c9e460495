"""How long a bench run still takes: the plans' estimates, corrected by what has been measured.

Every piece of work has a kind; what pieces of a kind took against their estimates moves the rest of
that kind. What has no estimate is taken to last as long as the done pieces of its kind.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from localllm.core.generation import BenchTest
from localllm.core.plan import Plan
from localllm.core.prediction import predicted, predicted_test


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One piece of a run."""

    kind: str
    """``load``, ``warm-up``, ``pp``, ``tg``, ``pp+tg``, ``chat``."""
    seconds: float | None
    """As it is expected; None where nobody can say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One finished piece, and what it really took."""

    work: Work
    seconds: float


def work_kind(test: BenchTest) -> str:
    """Return the kind of a test's work: ``pp``, ``tg``, ``pp+tg``."""
    return "+".join(["pp"] * (test.n_prompt > 0) + ["tg"] * (test.n_gen > 0))


def work_of_test(plan: Plan, test: BenchTest) -> Work:
    """Return what a test is expected to take: warm-up, depth and repetitions."""
    kind = work_kind(test)
    estimate = predicted_test(plan, n_prompt=test.n_prompt, n_gen=test.n_gen, depth=test.n_depth)
    if estimate is None:
        return Work(kind=kind, seconds=None)
    seconds = test.repetitions * (test.n_prompt + test.n_gen) / estimate.tok_s
    for n_untimed in (test.n_prompt, test.n_depth):  # the warm-up, and going to the depth
        untimed = predicted(plan, "pp", n_tokens=n_untimed, depth=0)
        seconds += n_untimed / untimed.tok_s if untimed else 0.0
    return Work(kind=kind, seconds=seconds)


def work_of_answer(plan: Plan, n_tokens: int) -> Work:
    """Return what sampled answers of so many tokens are expected to take."""
    estimate = predicted(plan, "tg", n_tokens=n_tokens, depth=0)
    return Work(kind="chat", seconds=n_tokens / estimate.tok_s if estimate else None)


def seconds_left(left: Sequence[Work], done: Iterable[Done]) -> float | None:
    """Return how long the rest takes; None while a part of it cannot be said."""
    by_kind: dict[str, list[Done]] = {}
    for one in done:
        by_kind.setdefault(one.work.kind, []).append(one)
    total = 0.0
    for work in left:
        seconds = _expected(work, by_kind.get(work.kind, []))
        if seconds is None:
            return None
        total += seconds
    return total


def _expected(work: Work, done: Sequence[Done]) -> float | None:
    if work.seconds is None:
        return statistics.fmean(one.seconds for one in done) if done else None
    pairs = [(one.seconds, one.work.seconds) for one in done if one.work.seconds]
    if not pairs:
        return work.seconds
    measured = math.fsum(seconds for seconds, _ in pairs)
    return work.seconds * measured / math.fsum(expected for _, expected in pairs)
