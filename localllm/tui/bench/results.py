"""What has been measured: a line that moves, a table of finished tests, remarks below it."""

from __future__ import annotations

from collections.abc import Iterable

from textual.containers import HorizontalScroll
from textual.content import Content
from textual.events import Resize
from textual.getters import query_one
from textual.reactive import var
from textual.widget import Widget
from textual.widgets import Static

from localllm.benching.whole import Measured
from localllm.core.bench.activity import Answering, Progress, Repeating
from localllm.core.bench.compare import row_label
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.tui.looks import Panel
from localllm.tui.widgets.figures_table import FiguresTable
from localllm.units import format_rate
from localllm.words.bench_progress import progress_line
from localllm.words.bench_results import HEAD, result_cells, result_lines

_BAR = 24
_ROOM_FOR_RANGES = 84
"""Columns of the panel."""
_KEPT = "What was measured until then is kept below."
_PARTS = " ▏▎▍▌▋▊▉█"


class Results(Panel):
    """A run as far as it has come."""

    measured: var[Measured | None] = var[Measured | None](None, init=False)
    ranges: var[bool] = var(False, init=False)
    """Whether there is room for the estimates' ranges."""

    now = query_one("#results-now", Static)
    table = query_one("#results-table", FiguresTable)
    said = query_one("#results-said", Static)

    def compose_body(self) -> Iterable[Widget]:
        """Yield the line, the table and the remarks."""
        yield Static(id="results-now", markup=False)
        with HorizontalScroll(id="results-scroll", can_focus=False):
            yield FiguresTable(HEAD, id="results-table")
        yield Static(id="results-said", markup=False)

    def watch_measured(self, before: Measured | None, measured: Measured | None) -> None:
        """Show what has changed."""
        if measured is None:
            return
        self.border_subtitle = f"{printable(measured.name)} · {measured.wanted.mode}"
        if not measured.rows:
            self._show_without_rows(measured)
            return
        is_over = measured.progress is None
        self.now.update(_now(measured), layout=is_over or self.look != "ready")
        self.now.display = not is_over or measured.ended != "complete"
        if before is None or before.rows is not measured.rows:
            self._fill(measured)
        self.show_ready()

    def on_resize(self, event: Resize) -> None:
        """Show the ranges of estimates where there is room."""
        self.ranges = event.size.width >= _ROOM_FOR_RANGES

    def watch_ranges(self) -> None:
        """Fill the table anew."""
        if self.measured is not None and self.measured.rows:
            self._fill(self.measured)

    def _show_without_rows(self, measured: Measured) -> None:
        if measured.error is not None:
            self.show_failed(measured.error)
        elif measured.ended is not None:
            self.show_empty(
                "Stopped before the first test had two repetitions. ctrl+r starts again."
            )
        else:
            words = "preparing" if measured.progress is None else doing(measured.progress)
            self.show_loading(words)

    def _fill(self, measured: Measured) -> None:
        self.table.rows = tuple(result_cells(row, ranges=self.ranges) for row in measured.rows)
        lines = [*result_lines(measured.rows, measured.memory), *map(printable, measured.notes)]
        self.said.update("\n".join(lines))


def in_short(measured: Measured) -> str:
    """Return what came of a run, for somebody who is elsewhere."""
    if measured.error is not None:
        return printable(measured.error.message)
    rows = [row for row in measured.rows if row["kind"] == "test"]
    rates = ", ".join(f"{row_label(row)} {format_rate(row['avg_ts'])} t/s" for row in rows[:2])
    return f"{len(rows)} tests: {printable(rates)}" if rows else "Nothing was measured."


def doing(progress: Progress) -> str:
    """Return a bar where it is known how far the run is, and the line that the CLI draws."""
    share = share_done(progress)
    bar = "" if share is None else f"{_bar(share)} "
    return f"{bar}{printable(progress_line(progress))}"


def share_done(progress: Progress) -> float | None:
    """Return how much of all tests is done, each counted alike; None where that says nothing."""
    step, where = progress.step, progress.where
    if isinstance(step, Answering):
        return 1.0
    if where is None:
        return None
    within = step.repetition / step.n_repetitions if isinstance(step, Repeating) else 0.0
    return (where.number - 1 + within) / where.n_tests


def _now(measured: Measured) -> Content:
    if measured.progress is not None:
        return Content(doing(measured.progress))
    if measured.error is not None:
        return _failure(measured.error)
    return Content(f"Stopped. {_KEPT}")


def _failure(error: LocalLLMError) -> Content:
    parts = [Content.styled("✗ ", "$text-error"), Content(printable(error.message)), Content("\n")]
    if error.hint:
        parts += [Content.styled("→ ", "$text-accent"), Content(f"{printable(error.hint)}\n")]
    return Content.assemble(*parts, _KEPT)


def _bar(share: float) -> str:
    eighths = round(min(max(share, 0.0), 1.0) * _BAR * 8)
    full, rest = divmod(eighths, 8)
    text = "█" * full + (_PARTS[rest] if rest else "")
    return f"▕{text:<{_BAR}}▏"
