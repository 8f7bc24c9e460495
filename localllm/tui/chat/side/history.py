"""The past of a figure in equal stretches of time, as a sparkline shows it.

Stretches begin at multiples of their length, so that a picture that moves on does not flicker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Seen = Sequence[tuple[float, float]]
"""(time in seconds, value), in order of time."""

LENGTHS_S = (15.0, 30.0, 60.0)
"""How much of the past is shown: the shortest that holds all of it, else the last."""
N_STRETCHES = 60
_HELD_S = 1.0
"""So long a value stands for what follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Values of ``seconds``, oldest first; None where there was nothing to tell, or not yet."""

    seconds: float
    values: tuple[float | None, ...]


def rates(counts: Seen) -> History | None:
    """Return by how much a count grew per second; None before it was seen twice."""
    if len(counts) < 2:
        return None
    end_s = counts[-1][0]
    began_s, length_s, step_s = _stretches(counts[0][0], end_s)
    edges = [min(began_s + step_s * i, end_s) for i in range(N_STRETCHES + 1)]
    at_edges = _between(counts, edges)
    values: list[float | None] = []
    for (left_s, before), (right_s, after) in pairwise(zip(edges, at_edges, strict=True)):
        known = before is not None and after is not None and right_s > left_s
        values.append((after - before) / (right_s - left_s) if known else None)  # type: ignore[operator]  # known: neither is None
    return History(seconds=length_s, values=tuple(values))


def means(seen: Seen, *, now_s: float) -> History | None:
    """Return the mean of what was seen in each stretch up to now; None where nothing was."""
    if not seen or now_s - seen[-1][0] > LENGTHS_S[-1]:
        return None
    began_s, length_s, step_s = _stretches(seen[0][0], now_s)
    recent = [(t_s, value) for t_s, value in seen if t_s >= began_s]
    values: list[float | None] = []
    upcoming, last = 0, None
    for i in range(N_STRETCHES):
        until_s = began_s + step_s * (i + 1)
        first = upcoming
        while upcoming < len(recent) and recent[upcoming][0] < until_s:
            upcoming += 1
        here = [value for _, value in recent[first:upcoming]]
        if here:
            last = recent[upcoming - 1]
            values.append(sum(here) / len(here))
        else:
            held = last is not None and until_s - last[0] <= _HELD_S and until_s <= now_s
            values.append(last[1] if last is not None and held else None)
    return History(seconds=length_s, values=tuple(values))


def resampled(history: History, n: int) -> list[float | None]:
    """Return ``n`` values for the whole length, at most as many as there are stretches."""
    values, n = history.values, min(n, len(history.values))
    groups = (values[len(values) * i // n : len(values) * (i + 1) // n] for i in range(n))
    known = ([value for value in group if value is not None] for group in groups)
    return [sum(group) / len(group) if group else None for group in known]


def _stretches(first_s: float, end_s: float) -> tuple[float, float, float]:
    """Return where the stretches begin, how long they are together, and how long each is."""
    length_s = next((length for length in LENGTHS_S if end_s - first_s <= length), LENGTHS_S[-1])
    step_s = length_s / N_STRETCHES
    if end_s - first_s <= length_s:
        return first_s, length_s, step_s
    return (math.floor(end_s / step_s) + 1 - N_STRETCHES) * step_s, length_s, step_s


def _between(points: Seen, edges: Sequence[float]) -> list[float | None]:
    """Return the value at each edge, on straight lines between points; None beyond them."""
    found: list[float | None] = []
    i = 0
    for edge in edges:
        while i + 2 < len(points) and points[i + 1][0] < edge:
            i += 1
        (t0, v0), (t1, v1) = points[i], points[i + 1]
        inside = t0 <= edge <= t1 and t1 > t0
        found.append(v0 + (v1 - v0) * (edge - t0) / (t1 - t0) if inside else None)
    return found
