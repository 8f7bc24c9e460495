"""What a plan would do: tokens per second, watts, joules and money as ranges. All are estimates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from textual.content import Content

from localllm.core.plan import Plan
from localllm.core.text import printable
from localllm.tui.plan.drawn import Drawn, Lines, flowed
from localllm.tui.plan.marks import MUTED
from localllm.words import speeds
from localllm.words.speeds import Estimated

_LOW, _LINE, _VALUE, _HIGH, _TRACK = "├", "━", "●", "┤", "╌"
_EST = "est."
_MOST_CELLS, _FEWEST_CELLS = 56, 10
"""Of a range: longer ones say no more, shorter ones nothing."""

Piece = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One estimate with its label, or why there is none."""

    label: str
    figure: Estimated | None
    why: str = ""
    colour: str = "$primary"


def speeds_lines(plan: Plan, width: int) -> list[Content]:
    """Return the estimates of a plan, a line each, then what they hold for and what binds them.

    A range is drawn from 0, with its low end, the estimate and its high end in their places.
    """
    rows = list(_rows(plan))
    known = [row.figure for row in rows if row.figure is not None]
    ranged = [figure for figure in known if figure.ends is not None]
    labels = max(len(row.label) for row in rows) + 2
    figures = max((len(figure.figure) for figure in known), default=0)
    units = max((len(figure.unit) for figure in ranged), default=0)
    ends = max((len(_ends(figure)) for figure in ranged), default=0)
    taken = labels + len(_EST) + 1 + figures + 1 + units + 2 + 2 + ends
    cells = min(width - taken, _MOST_CELLS)
    lines: list[Content] = []
    for row in rows:
        pieces: list[Piece] = [(row.label.ljust(labels), MUTED)]
        if row.figure is None:
            pieces.append((f"— {row.why}", MUTED))
        else:
            figure = row.figure
            pieces += [(f"{_EST} ", MUTED), (figure.figure.rjust(figures), "bold")]
            pieces.append((f" {figure.unit.ljust(units)}  ", ""))
            if figure.ends is not None and cells >= _FEWEST_CELLS:
                pieces += [*_range(figure, cells, row.colour), ("  ", "")]
            pieces.append((_ends(figure), MUTED))
        lines += Content.assemble(*pieces).rstrip().wrap(width)
    notes = [Content.styled(printable(note), MUTED) for note in _notes(plan)]
    return [*lines, *flowed(notes, width, gap=" · ")]


def _rows(plan: Plan) -> Iterator[_Row]:
    speed, power, cost = plan.speed, plan.power, plan.cost
    if speed is None:
        yield _Row(label="speed", figure=None, why=speeds.no_speed(plan))
    else:
        yield _Row(label="decode", figure=speeds.decode(speed))
        yield _Row(label="prompt", figure=speeds.prompt(speed), why="no estimate")
    if power is None:
        yield _Row(label="power", figure=None, why=printable(speeds.no_power(plan)))
    else:
        yield _Row(label="power", figure=speeds.watts(power), colour="$warning")
        yield _Row(label="energy", figure=speeds.joules(power))
    if cost is not None:
        yield _Row(label="cost", figure=speeds.price(cost))


def _notes(plan: Plan) -> Iterator[str]:
    """What the figures hold for, what limits them, and where they come from."""
    speed, power, cost = plan.speed, plan.power, plan.cost
    if speed is not None:
        yield f"bound by {speed.bound_by}"
        if speed.pp_bound_by is not None:
            yield f"{speeds.prompt_label(speed)} by {speed.pp_bound_by}"
        if speed.at_depth:
            yield speeds.depth_words(speed)
    if power is not None:
        yield f"power on the {power.scope} while decoding"
        if power.wall_w is not None:
            yield f"{power.wall_w:,.0f} W at the socket"
    if cost is not None:
        yield f"cost by {cost.basis}"
    if speed is not None:
        yield f"80 % ranges, estimate: {speed.basis}"


def _ends(figure: Estimated) -> str:
    return "" if figure.ends is None else "{} to {}".format(*figure.ends)


def _range(figure: Estimated, cells: int, colour: str) -> Iterator[Piece]:
    """Low end, estimate and high end on a line from 0; needs a range."""
    low, high = figure.low or 0.0, figure.high or 0.0
    scale = max(high, figure.value)

    def cell(value: float) -> int:
        return round((cells - 1) * value / scale) if scale > 0 else 0

    first, last = min(cell(low), cells - 3), max(cell(high), 2)
    at = min(max(cell(figure.value), first + 1), last - 1)
    last = max(last, at + 1)
    yield _TRACK * first, MUTED
    yield _LOW + _LINE * (at - first - 1), colour
    yield _VALUE, "bold"
    yield _LINE * (last - at - 1) + _HIGH, colour
    yield " " * (cells - last - 1), ""


class SpeedGauges(Drawn):
    """The estimates."""

    def lines(self, plan: Plan, width: int) -> Lines:
        """Return an estimate a line."""
        return speeds_lines(plan, width)
