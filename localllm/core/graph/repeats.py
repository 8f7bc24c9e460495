"""Which blocks of a model must be built, where many are alike.

The allocator's layout repeats with the blocks: after a few rounds of the same blocks every further
round takes the same places. So runs of equal rounds are cut to the first few.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

ROUNDS = 4
"""Rounds of a pattern that are kept, or one more: the first differs, as it follows something else,
and the next may, where results take turns in two places. Of two thousand placements of forty
families two came out otherwise than with every block built, by 7 and 25 MiB (Mamba 2)."""

_LONGEST_PATTERN = 8


def thinned(keys: Sequence[Hashable], *, by_turns: bool = True) -> list[int]:
    """Indices of the blocks that stand for all; ``keys`` tells which blocks are alike.

    The last block is always kept: it goes on with the outputs' rows alone. ``by_turns`` False keeps
    as many rounds of an odd number as of an even one: less exact, and fewer different graphs where
    a search moves layers between many devices.
    """
    kept: list[int] = []
    at, end = 0, len(keys) - 1
    while at < end:
        length, rounds = _pattern(keys, at, end)
        kept += range(at, at + length * _kept(rounds, by_turns=by_turns))
        at += length * rounds
    if keys:
        kept.append(end)
    return kept


def _kept(rounds: int, *, by_turns: bool) -> int:
    """Return how many rounds stand for all: of the same parity, as results take turns."""
    if rounds <= ROUNDS:
        return rounds
    return ROUNDS + (rounds - ROUNDS) % 2 if by_turns else ROUNDS


def _pattern(keys: Sequence[Hashable], at: int, end: int) -> tuple[int, int]:
    """Return length and number of rounds of the pattern that saves most from ``at`` on."""
    best = (1, 1)
    saved = 0
    for length in range(1, _LONGEST_PATTERN + 1):
        rounds = 1
        while (
            at + (rounds + 1) * length <= end
            and keys[at + rounds * length : at + (rounds + 1) * length] == keys[at : at + length]
        ):
            rounds += 1
        if length * (rounds - ROUNDS) > saved:
            best, saved = (length, rounds), length * (rounds - ROUNDS)
    return best
