"""Panels with curves: tokens per second by depth, and watts over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from textual.getters import query_one
from textual.reactive import var
from textual.widget import Widget

from localllm.benching.wanted import Estimate
from localllm.benching.whole import Measured
from localllm.core.bench.panels import GENERATION, POWER, PROMPT, panels
from localllm.core.bench.row import Row
from localllm.core.text import printable
from localllm.tui.bench.preview import Preview
from localllm.tui.looks import Panel
from localllm.tui.subject import Subject
from localllm.tui.widgets.chart import Chart
from localllm.tui.widgets.plot import Curve

Kind = Literal["prompt", "generation"]
HEADINGS: Mapping[Kind, str] = {"prompt": PROMPT, "generation": GENERATION}

_MARKS = (("●", "○", "◉"), ("■", "□", "▣"), ("▲", "△", "▲"), ("◆", "◇", "◈"))
"""Measured, estimated, both in one place; of one series after the other."""
_STYLES = ("$text-accent", "$text-success", "$text-warning", "$text-primary")


class _RunPlot(Panel):
    """A drawing of the last run, which may be of something else than what is looked at by now."""

    measured: var[Measured | None] = var[Measured | None](None, init=False)
    measured_of: var[Subject | None] = var[Subject | None](None, init=False)
    """What was looked at when the run began."""
    subject: var[Subject] = var(Subject, init=False)

    @property
    def other(self) -> str | None:
        """What the run was of, where that is not what is looked at."""
        measured, was, now = self.measured, self.measured_of, self.subject
        if measured is None or was is None or (was.name, was.wishes) == (now.name, now.wishes):
            return None
        if measured.plan is None:
            return printable(measured.name)
        return printable(f"{measured.plan.model.name} {measured.plan.model.quant}")

    def watch_measured(self, before: Measured | None, measured: Measured | None) -> None:
        """Draw anew where there is something new to draw: progress comes more often."""
        if drawn_of(before) != drawn_of(measured):
            self.draw()

    def watch_measured_of(self) -> None:
        """Draw anew."""
        self.draw()

    def watch_subject(self) -> None:
        """Draw anew."""
        self.draw()

    def draw(self) -> None:
        """Draw what there is."""
        raise NotImplementedError

    def say_below(self, text: str) -> None:
        """Write a legend on the border, and whose it is where one could not know."""
        self.border_subtitle = " · ".join(filter(None, (self.other, text)))


class SpeedPlot(_RunPlot):
    """One kind of test by depth: what is expected from the beginning on, then what was measured."""

    preview: var[Preview | None] = var[Preview | None](None, init=False)

    chart = query_one(Chart)

    def __init__(self, kind: Kind, *, id: str) -> None:
        """Take which tests it shows."""
        super().__init__(title=HEADINGS[kind], empty="No tests are chosen yet.", id=id)
        self._kind: Kind = kind

    def compose_body(self) -> Iterable[Widget]:
        """Yield the chart."""
        yield Chart(x_words="depth")

    def watch_preview(self) -> None:
        """Draw anew."""
        self.draw()

    def draw(self) -> None:
        """Draw the run, or what is expected where there is none of what is looked at."""
        measured, preview = self.measured, self.preview
        if measured is not None and (preview is None or self._precedes_preview(measured)):
            curves = curves_of(self._kind, measured.estimates, measured.rows)
            is_over = measured.ended is not None
            self.say_below(legend(curves))
        elif preview is not None:
            curves = curves_of(self._kind, preview.estimates)
            is_over = True
            self.border_subtitle = legend(curves)
        else:
            return
        self.chart.curves = curves
        if curves:
            self.show_ready()
        elif is_over:
            self.show_empty("There is no such test.")
        else:
            self.show_loading("no such test is finished yet")

    def _precedes_preview(self, measured: Measured) -> bool:
        return measured.plan is not None and (self.other is None or measured.ended is None)


class PowerPlot(_RunPlot):
    """Watts over the time of a run, or why there are none."""

    chart = query_one(Chart)

    def __init__(self, *, id: str) -> None:
        """Show nothing yet."""
        super().__init__(title=POWER, empty="ctrl+r starts the tests.", id=id)

    def compose_body(self) -> Iterable[Widget]:
        """Yield the chart."""
        yield Chart(x_words="seconds")

    def draw(self) -> None:
        """Show what was drawn."""
        measured = self.measured
        if measured is None:
            return
        found = panels(measured.rows, measured.watts)
        figure = next((one for one in found if one.heading == POWER), None)
        if figure is not None:
            (series,) = figure.series
            points = tuple((point.x, point.y) for point in series.points)
            self.chart.curves = (Curve(name=series.name, points=points, style=_STYLES[0]),)
            self.say_below(printable(series.name))
            self.show_ready()
        elif measured.power_unknown:
            self.say_below("")
            reasons = "; ".join(map(printable, measured.power_unknown))
            self.show_empty(f"— power not measured ({reasons})")
        elif measured.ended is None:
            self.show_loading("no reading yet")
        else:
            self.show_empty("— nothing was measured")


def drawn_of(measured: Measured | None) -> tuple[object, ...]:
    """Return what a drawing depends on; what only grows is told by its length."""
    if measured is None:
        return ()
    return (measured.began, measured.plan is None, len(measured.rows), len(measured.watts),
            measured.ended)  # fmt: skip


def curves_of(
    kind: Kind, estimates: Iterable[Estimate], rows: Sequence[Row] = ()
) -> tuple[Curve, ...]:
    """Return the curves of one kind of test: estimates first, so that measurements lie over them.

    Beside a measured test stands the estimate of the plan that it ran under.
    """
    figure = next((one for one in panels(rows, ()) if one.heading == HEADINGS[kind]), None)
    series = {} if figure is None else {one.name: one.points for one in figure.series}
    expected: dict[str, dict[float, float]] = {name: {} for name in series}
    for test, tok_s in estimates:
        if (test.n_prompt > 0, test.n_gen > 0) == (kind == "prompt", kind == "generation"):
            at_depth = expected.setdefault(test.label.partition(" ")[0], {})
            at_depth[test.n_depth] = tok_s
    for name, points in series.items():
        expected[name] |= {p.x: p.estimate for p in points if p.estimate is not None}
    estimated, measured = [], []
    for number, (name, known) in enumerate(expected.items()):
        mark, hollow, both = _MARKS[number % len(_MARKS)]
        if known:
            estimated.append(
                Curve(
                    name=name,
                    points=tuple(sorted(known.items())),
                    mark=hollow,
                    sparse=True,
                    style="$text-muted",
                )
            )
        if name in series:
            measured.append(
                Curve(
                    name=name,
                    points=tuple((point.x, point.y) for point in series[name]),
                    deviations=tuple(point.deviation for point in series[name]),
                    mark=mark,
                    both=both,
                    style=_STYLES[number % len(_STYLES)],
                )
            )
    return (*estimated, *measured)


def legend(curves: Iterable[Curve]) -> str:
    """Return the marks and what they stand for: ``● tg128 · ○ tg128, est.``."""
    ordered = sorted(curves, key=lambda curve: curve.sparse)
    return " · ".join(
        f"{curve.mark} {printable(curve.name)}{', est.' if curve.sparse else ''}"
        for curve in ordered
    )
