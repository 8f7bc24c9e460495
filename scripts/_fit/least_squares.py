"""Non-negative least squares on logarithms: times that are sums of constants times quantities.

``t = sum(c_k * a_k)`` with ``c_k >= 0`` is fitted to measured times in relative terms: the sum over
rows of ``w * rho(log(t_measured / t))`` plus a weak pull of each constant towards its prior is made
small by Gauss-Newton steps, each a linear problem that coordinate descent solves. ``rho`` is
Huber's: beyond ``HUBER`` a row pulls no harder, however far off it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HUBER = 0.15
"""Relative error from which a row counts linearly: single reports vary by so much."""
_STEPS = 30
_SWEEPS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One measured time and the quantities that it should be the sum of."""

    seconds: float
    quantities: Mapping[str, float]
    weight: float = 1.0


def predicted(quantities: Mapping[str, float], constants: Mapping[str, float]) -> float:
    """Return the sum of quantities times their constants, in seconds."""
    return sum(amount * constants.get(name, 0.0) for name, amount in quantities.items())


def fit(
    observations: Sequence[Observation], priors: Mapping[str, float], *, pull: float
) -> dict[str, float]:
    """Return the constants, starting from ``priors``; ``pull`` is how many rows a prior is worth.

    A prior pulls in relative terms: ``pull * ((c - prior) / prior)^2``.
    """
    constants = dict(priors)
    names = list(priors)
    for _ in range(_STEPS):
        before = dict(constants)
        _gauss_newton(observations, priors, constants, names, pull=pull)
        if all(abs(constants[n] - before[n]) <= 1e-4 * priors[n] for n in names):
            break
    return constants


def _gauss_newton(
    observations: Sequence[Observation],
    priors: Mapping[str, float],
    constants: dict[str, float],
    names: Sequence[str],
    *,
    pull: float,
) -> None:
    """One linear problem around the present constants, solved where they stand.

    Unknowns are ``x = c / prior``, all of order 1.
    """
    index = {name: i for i, name in enumerate(names)}
    n = len(names)
    matrix = [[0.0] * n for _ in range(n)]
    right = [0.0] * n
    for row in observations:
        t = predicted(row.quantities, constants)
        error = math.log(row.seconds / t)
        weight = row.weight * min(1.0, HUBER / abs(error)) if error else row.weight
        target = 1.0 + max(-0.7, min(error, 0.7))
        parts = [
            (index[name], amount * priors[name] / t)
            for name, amount in row.quantities.items()
            if name in index and amount
        ]
        for i, a in parts:
            right[i] += weight * a * target
            for j, b in parts:
                matrix[i][j] += weight * a * b
    for i in range(n):
        matrix[i][i] += pull
        right[i] += pull
    x = [constants[name] / priors[name] for name in names]
    for _ in range(_SWEEPS):
        largest = 0.0
        for i in range(n):
            rest = sum(m * v for m, v in zip(matrix[i], x, strict=True)) - matrix[i][i] * x[i]
            new = max(0.0, (right[i] - rest) / matrix[i][i])
            largest = max(largest, abs(new - x[i]))
            x[i] = new
        if largest < 1e-5:
            break
    for name, value in zip(names, x, strict=True):
        constants[name] = value * priors[name]
