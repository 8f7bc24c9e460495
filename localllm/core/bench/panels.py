"""What a picture of a run shows: tokens per second against depth, and watts over time, as points.

Prompt and generation have a panel each, since they differ by a factor of hundreds.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from localllm.core.bench.compare import SETTINGS
from localllm.core.bench.row import Row

PROMPT, GENERATION = "prompt, tokens/s", "generation, tokens/s"
TOGETHER = "prompt and generation together, tokens/s"
POWER = "power, W"

MOST_POINTS = 600
"""Of a curve: more than there are pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One figure, and how far it scatters."""

    x: float
    y: float
    deviation: float = 0.0
    estimate: float | None = None
    """The plan's, for the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Figures that belong together."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One pair of axes."""

    heading: str
    x_words: str
    series: tuple[Series, ...]
    dots: bool = True


def panels(rows: Sequence[Row], watts: Sequence[tuple[float, float]]) -> Iterator[Panel]:
    """Yield a panel for each kind of test, and one for ``watts``: moments and watts, if any."""
    for heading, kinds in (
        (PROMPT, (True, False)),
        (GENERATION, (False, True)),
        (TOGETHER, (True, True)),
    ):
        tests = [
            row
            for row in rows
            if row["kind"] == "test" and (row["n_prompt"] > 0, row["n_gen"] > 0) == kinds
        ]
        if tests:
            series = tuple(_series(tests, rows))
            yield Panel(heading=heading, x_words="tokens already in the context", series=series)
    if watts:
        start_s = watts[0][0]
        points = tuple(_thinned([Point(x=t_s - start_s, y=watt) for t_s, watt in watts]))
        scopes = dict.fromkeys(row["power_scope"] for row in rows if row["power_scope"])
        yield Panel(
            heading=POWER,
            x_words="seconds",
            series=(Series(name=", ".join(scopes) or "power", points=points),),
            dots=False,
        )


def _series(tests: Sequence[Row], rows: Sequence[Row]) -> Iterator[Series]:
    """Yield a series for each test and configuration, in the order of the rows."""
    varied = [name for name in SETTINGS if len({str(row.get(name)) for row in rows}) > 1]
    groups: dict[str, list[Row]] = {}
    for row in tests:
        parts = [f"pp{row['n_prompt']}"] * (row["n_prompt"] > 0)
        parts += [f"tg{row['n_gen']}"] * (row["n_gen"] > 0)
        name = ", ".join(["+".join(parts), *(f"{field} {row[field]}" for field in varied)])
        groups.setdefault(name, []).append(row)
    for name, group in groups.items():
        points = sorted(
            (
                Point(
                    x=row["n_depth"],
                    y=row["avg_ts"],
                    deviation=row["stddev_ts"],
                    estimate=row["predicted_ts"],
                )
                for row in group
            ),
            key=lambda point: point.x,
        )
        yield Series(name=name, points=tuple(points))


def _thinned(points: Sequence[Point]) -> Iterator[Point]:
    """Yield means of neighbours where there are more points than can be seen."""
    step = max(1, -(-len(points) // MOST_POINTS))
    for start in range(0, len(points), step):
        near = points[start : start + step]
        yield Point(
            x=statistics.fmean(point.x for point in near),
            y=statistics.fmean(point.y for point in near),
        )
