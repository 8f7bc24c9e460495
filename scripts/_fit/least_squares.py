"""Bounded least squares on logarithms: times that come from constants times quantities.

Times are fitted in relative terms: the sum over rows of ``w * rho(log(t_measured / t))`` plus a
weak pull of each constant towards its prior is made small by Gauss-Newton steps, each a linear
problem with lower bounds. ``rho`` is Huber's: beyond ``HUBER`` a row pulls no harder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from localllm.core.pricing import OVERLAP, overlapped

HUBER = 0.15
"""Relative error from which a row counts linearly: single reports vary by so much."""
_STEPS = 30
_STEPS_FROM_NEAR = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Quantities at one place, by constant. Memory and compute overlap, the rest is added."""

    memory: Mapping[str, float]
    compute: Mapping[str, float]
    rest: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One measured time and the quantities that it should come from."""

    seconds: float
    places: Sequence[Place]
    weight: float = 1.0


def priced(quantities: Mapping[str, float], constants: Mapping[str, float]) -> float:
    """Return the sum of quantities times their constants, in seconds."""
    return sum(amount * constants.get(name, 0.0) for name, amount in quantities.items())


def predicted(places: Sequence[Place], constants: Mapping[str, float]) -> float:
    """Return the time that constants give, in seconds."""
    return sum(
        overlapped(priced(place.memory, constants), priced(place.compute, constants))
        + priced(place.rest, constants)
        for place in places
    )


def _effective(places: Sequence[Place], constants: Mapping[str, float]) -> dict[str, float]:
    """Derivatives of the time by each constant. The time is their sum: it is homogeneous."""
    slopes: dict[str, float] = {}
    for place in places:
        memory, compute = priced(place.memory, constants), priced(place.compute, constants)
        whole = overlapped(memory, compute)
        for quantities, part in ((place.memory, memory), (place.compute, compute)):
            share = (part / whole) ** (OVERLAP - 1) if whole else 1.0
            for name, amount in quantities.items():
                slopes[name] = slopes.get(name, 0.0) + share * amount
        for name, amount in place.rest.items():
            slopes[name] = slopes.get(name, 0.0) + amount
    return slopes


def fit(
    observations: Sequence[Observation],
    priors: Mapping[str, float],
    least: Mapping[str, float],
    *,
    pull: float,
    start: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Return the constants, none below its ``least``; ``pull`` is how many rows a prior is worth.

    A prior pulls in relative terms: ``pull * ((c - prior) / prior)^2``. ``start``: constants that
    are near already, which saves steps.
    """
    constants = dict(priors if start is None else start)
    names = list(priors)
    for _ in range(_STEPS if start is None else _STEPS_FROM_NEAR):
        matrix, right = _normal_equations(observations, priors, constants, names)
        for i in range(len(names)):
            matrix[i][i] += pull
            right[i] += pull
        floors = [least[name] / priors[name] for name in names]
        scaled = bounded(matrix, right, floors)
        after = {name: x * priors[name] for name, x in zip(names, scaled, strict=True)}
        moved = max(abs(after[name] - constants[name]) / priors[name] for name in names)
        constants = after
        if moved < 1e-3:
            break
    return constants


def _normal_equations(
    observations: Sequence[Observation],
    priors: Mapping[str, float],
    constants: Mapping[str, float],
    names: Sequence[str],
) -> tuple[list[list[float]], list[float]]:
    """One linear problem around the present constants, in ``x = c / prior``, all of order 1."""
    index = {name: i for i, name in enumerate(names)}
    matrix = [[0.0] * len(names) for _ in names]
    right = [0.0] * len(names)
    for row in observations:
        t = predicted(row.places, constants)
        error = math.log(row.seconds / t)
        weight = row.weight * min(1.0, HUBER / abs(error)) if error else row.weight
        target = 1.0 + max(-0.7, min(error, 0.7))
        parts = [
            (index[name], amount * priors[name] / t)
            for name, amount in _effective(row.places, constants).items()
            if name in index and amount
        ]
        for i, a in parts:
            right[i] += weight * a * target
            for j, b in parts:
                matrix[i][j] += weight * a * b
    return matrix, right


def bounded(
    matrix: Sequence[Sequence[float]], right: Sequence[float], floors: Sequence[float]
) -> list[float]:
    """Solve ``matrix x = right`` (symmetric, positive definite) with ``x >= floors``.

    An active set: what falls below its floor is held there, and let go when that would help.
    """
    n = len(right)
    held: set[int] = set()
    x = [0.0] * n
    for _ in range(3 * n):
        free = [i for i in range(n) if i not in held]
        b = [right[i] - sum(matrix[i][j] * floors[j] for j in held) for i in free]
        solution = _solved([[matrix[i][j] for j in free] for i in free], b)
        x = list(floors)
        for i, value in zip(free, solution, strict=True):
            x[i] = value
        below = [i for i in free if x[i] < floors[i] - 1e-12]
        if below:
            held.update(below)
            continue
        slopes = {i: sum(m * v for m, v in zip(matrix[i], x, strict=True)) - right[i] for i in held}
        if not slopes or min(slopes.values()) >= -1e-9:
            break
        held.remove(min(slopes, key=lambda i: slopes[i]))
    return [max(value, floor) for value, floor in zip(x, floors, strict=True)]


def _solved(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Gaussian elimination; a symmetric positive definite matrix needs no pivots."""
    n = len(right)
    for k in range(n):
        for i in range(k + 1, n):
            factor = matrix[i][k] / matrix[k][k]
            if factor:
                upper, row = matrix[k], matrix[i]
                for j in range(k, n):
                    row[j] -= factor * upper[j]
                right[i] -= factor * right[k]
    x = [0.0] * n
    for i in reversed(range(n)):
        known = sum(matrix[i][j] * x[j] for j in range(i + 1, n))
        x[i] = (right[i] - known) / matrix[i][i]
    return x
