"""How long a run still takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from localllm.benching.rules import Rules
from localllm.core.bench.progress import Done, Work, seconds_left, work_of_answer, work_of_test
from localllm.core.generation import BenchTest
from localllm.core.plan import Plan

ENOUGH = 0.1
"""Of a piece must be done before it tells how long it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of the run, and the number of the configuration that it belongs to."""

    owner: int
    work: Work


def pieces_of(plans: Sequence[Plan], tests: Sequence[BenchTest], rules: Rules) -> Iterator[Piece]:
    """Yield all pieces of a run, in its order; a configuration's owner is its number."""
    for number, (order, n_wanted) in enumerate(rules.passes, 1):
        turns = list(enumerate(plans))
        for owner, plan in turns if order == "forward" else reversed(turns):
            yield Piece(owner=owner, work=Work(kind="load", seconds=None))
            if rules.mode == "steady":
                yield Piece(owner=owner, work=Work(kind="warm-up", seconds=rules.warm_s))
            for test in tests:
                work = work_of_test(plan, replace(test, repetitions=n_wanted))
                if rules.mode == "steady":
                    work = replace(work, seconds=n_wanted * rules.window_s)
                if work.seconds is not None:
                    work = replace(work, seconds=work.seconds + rules.delay_s)
                yield Piece(owner=owner, work=work)
            if rules.chat_answers and number == len(rules.passes):
                n_tokens = rules.chat_answers * rules.chat_tokens
                yield Piece(owner=owner, work=work_of_answer(plan, n_tokens))


class Countdown:
    """Knows what is left, and what each finished piece took."""

    def __init__(self, pieces: Iterable[Piece], *, clock: Callable[[], float]) -> None:
        """Take all pieces in their order."""
        self._left = list(pieces)
        self._done: list[Done] = []
        self._clock = clock
        self._began_s = clock()

    def begin(self) -> None:
        """Say that the next piece has begun."""
        self._began_s = self._clock()

    def end(self, owner: int, kind: str) -> None:
        """Say that the next piece of a kind has ended."""
        for piece in self._left:
            if piece.owner == owner and piece.work.kind == kind:
                self._left.remove(piece)
                self._done.append(Done(work=piece.work, seconds=self._clock() - self._began_s))
                return

    def drop(self, owner: int) -> None:
        """Leave out everything of a configuration."""
        self._left = [piece for piece in self._left if piece.owner != owner]

    def left_s(self, share: float = 0.0) -> float | None:
        """Return the seconds that are left; None where that cannot be said, or nothing is.

        ``share`` of the present piece is done: from a tenth on its own pace counts.
        """
        if not self._left:
            return None
        current, *rest = [piece.work for piece in self._left]
        had_s = self._clock() - self._began_s
        if share >= ENOUGH:
            now_s: float | None = had_s * (1 - share) / share
        else:
            expected_s = seconds_left([current], self._done)
            now_s = None if expected_s is None else max(expected_s - had_s, 0.0)
        then_s = seconds_left(rest, self._done)
        if now_s is None or then_s is None:
            return None
        return now_s + then_s
