"""The largest number that still fits, found with few questions to a source of memory.

Needs grow with the number (layers, contexts, blocks with their experts), so halving finds it; a
good guess finds it sooner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from localllm.core.memory import Formulas
from localllm.core.placing import Problem
from localllm.core.solution import Solution


def guided(
    problem: Problem,
    trial: Callable[[Problem, int], Solution | None],
    *,
    low: int,
    high: int,
    near: Solution | None,
    start: int | None,
) -> Solution | None:
    """Return the trial of the largest number that succeeds, with few trials of the full memory.

    The engine starts from the formulas' answer. The formulas start from what they find without
    working the compute buffers out anew.
    """
    formulas = problem.memory.formulas
    if problem.trusting and start is not None and low <= start <= high:
        found = trial(problem, start)
        if found is not None and _agree(formulas, found):
            ours = replace(problem, memory=formulas)
            if start == high or trial(ours, start + 1) is None:
                return found
    if start is None or formulas is problem.memory:
        rough = replace(problem, memory=formulas.with_compute(near.memory if near else None))
        guess = _largest_number(lambda n: trial(rough, n) is not None, low=low, high=high)
        start = max(guess, low)
        if problem.trusting and (close := trial(problem, start)) is not None:
            return _improved(problem, trial, close, n=start, high=high)
    return largest(lambda n: trial(problem, n), low=low, high=high, near=start)


def _improved(
    problem: Problem,
    trial: Callable[[Problem, int], Solution | None],
    found: Solution,
    *,
    n: int,
    high: int,
) -> Solution:
    """Go on from what fits while its own compute buffers leave room for more.

    Only what may fit is worked out in full: the buffers of one number are nearly the next one's.
    """
    while n < high:
        rough = replace(problem, memory=problem.memory.formulas.with_compute(found.memory))
        if trial(rough, n + 1) is None or (more := trial(problem, n + 1)) is None:
            break
        found, n = more, n + 1
    return found


def _largest_number(succeeds: Callable[[int], bool], *, low: int, high: int) -> int:
    """Return the largest number that succeeds, by halving; ``low - 1`` where none does."""
    good, bad = low - 1, high + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if succeeds(middle) else (good, middle)
    return good


def largest(
    trial: Callable[[int], Solution | None], *, low: int, high: int, near: int | None
) -> Solution | None:
    """Return the trial of the largest number from ``low`` to ``high`` that succeeds.

    Needs grow with the number, so halving finds it. From a good guess ``near``, steps of growing
    length bracket the border first, in about two trials.
    """
    best: Solution | None = None
    good, bad = low - 1, high + 1

    def succeeds(n: int) -> bool:
        nonlocal best, good, bad
        found = trial(n)
        if found is None:
            bad = n
        else:
            best, good = found, n
        return found is not None

    if near is not None and low <= high:
        at, step = min(max(near, low), high), 1
        upwards = succeeds(at)
        at += step if upwards else -step
        while good < at < bad and succeeds(at) == upwards:
            step *= 2
            at += step if upwards else -step
    while bad - good > 1:
        succeeds((good + bad) // 2)
    return best


def _agree(formulas: Formulas, found: Solution) -> bool:
    """Whether the formulas count the same bytes for a solution of another source."""
    ours = formulas.with_devices(found.devices).breakdown(found.placement, found.settings.shape)
    return (ours.devices, ours.host) == (found.memory.devices, found.memory.host)
