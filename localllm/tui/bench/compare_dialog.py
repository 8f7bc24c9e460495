"""Two runs beside each other: chosen from this one, saved files and the history."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import HorizontalScroll, Vertical, VerticalScroll
from textual.content import Content
from textual.getters import query_one
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from localllm.benching.earlier import Earlier, kept_runs, saved_runs
from localllm.benching.saving import bench_file
from localllm.benching.whole import Measured
from localllm.core.bench.compare import compare
from localllm.core.bench.read import BenchFile
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.lookups import bench_folder
from localllm.tui.looks import Panel
from localllm.tui.threads import called
from localllm.tui.widgets.figures_table import FiguresTable
from localllm.words.bench_comparing import (
    HEAD,
    NOT_THE_SAME,
    P_VALUE,
    comparison_rows,
    difference_lines,
    only_lines,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A run that can be chosen."""

    label: str
    name: str
    earlier: Earlier | None = None
    """None: this run, or a file that was typed."""
    file: BenchFile | None = None

    def read(self) -> BenchFile:
        """Return its tests. Raises what ``Earlier.read`` does; it blocks."""
        if self.file is not None:
            return self.file
        assert self.earlier is not None
        return self.earlier.read()


class CompareDialog(ModalScreen[None]):
    """A is what was before, B what is now."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Leave", id="compare.leave", tooltip="Back to the run"),
        Binding("a", "choose('a')", "is A", id="compare.a",
                tooltip="Take the marked run as A, the one before"),
        Binding("b", "choose('b')", "is B", id="compare.b",
                tooltip="Take the marked run as B, the one after"),
    ]  # fmt: skip

    runs = query_one("#compare-runs", OptionList)
    result = query_one("#compare-result", Panel)
    table = query_one("#compare-table", FiguresTable)
    said = query_one("#compare-said", Static)
    path = query_one("#compare-path", Input)

    def __init__(self, measured: Measured | None, *, model: str | None) -> None:
        """Take this run, if it has tests, and the model's name in its file."""
        super().__init__()
        self._measured = measured if measured is not None and measured.rows else None
        self._model = model
        self._candidates: list[Candidate] = []
        self._sides: dict[str, int | None] = {"a": None, "b": None}

    def compose(self) -> ComposeResult:
        """Yield the list, a way to name another file, and the comparison."""
        with Vertical(id="compare-dialog", classes="bench--dialog") as box:
            box.border_title = "Compare"
            box.border_subtitle = "a, b choose · enter: A · escape leaves"
            yield OptionList(id="compare-runs", compact=True, markup=False)
            yield Input(
                placeholder="another file: path of a .json, then enter",
                id="compare-path",
                compact=True,
            )
            yield Panel(
                VerticalScroll(
                    HorizontalScroll(
                        FiguresTable(_ordered(HEAD), words=(0, 2), id="compare-table"),
                        id="compare-across",
                    ),
                    Static(id="compare-said", markup=False),
                    id="compare-scroll",
                ),
                title="B as seen from A",
                empty="Choose A and B: a and b take the run that is marked in the list.",
                id="compare-result",
            )

    def on_mount(self) -> None:
        """Begin to look."""
        self.runs.focus()
        self._look()

    @work(group="look", exclusive=True)
    async def _look(self) -> None:
        """List what there is; this run is B, and the newest of the others A."""
        found, problem = await called(lambda: _found(self._measured, self._model))
        self._candidates = found
        if problem is not None:
            self.notify(printable(problem), severity="warning")
        self._list()
        if self._measured is not None:
            self._sides["b"] = 0
        if len(found) > 1 and self._measured is not None:
            self._sides["a"] = 1
            self.runs.highlighted = 1
        self._list()
        if not found:
            self.result.show_empty(
                "No run was saved or kept yet. Measure one, and save it with ctrl+s."
            )
        self._compare()

    def action_choose(self, side: str) -> None:
        """Take the marked run as A or as B."""
        marked = self.runs.highlighted
        if marked is not None:
            self._sides[side] = marked
            self._list()
            self._compare()

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        lacks_b = self._sides["b"] is None and self._sides["a"] is not None
        self.action_choose("b" if lacks_b else "a")

    @on(Input.Submitted, "#compare-path")
    def _typed(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value.strip():
            self._add(Path(os.path.expanduser(event.value.strip())).absolute())

    @work(group="add", exclusive=True)
    async def _add(self, path: Path) -> None:
        """Put a file that was typed into the list."""
        try:
            file = await called(lambda: bench_file(path))
        except LocalLLMError as error:
            self.result.show_failed(error)
            return
        self._candidates.append(Candidate(label=f"file   {path}", name=path.name, file=file))
        self.path.value = ""
        self._list()
        self.runs.highlighted = len(self._candidates) - 1
        self.runs.focus()

    def _list(self) -> None:
        marked = self.runs.highlighted
        self.runs.clear_options()
        for index, candidate in enumerate(self._candidates):
            sides = "".join(
                side.upper() if self._sides[side] == index else " " for side in ("a", "b")
            )
            self.runs.add_option(Option(Content(f"{sides} {printable(candidate.label)}")))
        if self._candidates:
            self.runs.highlighted = min(marked or 0, len(self._candidates) - 1)

    def _compare(self) -> None:
        a, b = self._sides["a"], self._sides["b"]
        if a is not None and b is not None:
            self._show(self._candidates[a], self._candidates[b])

    @work(group="compare", exclusive=True)
    async def _show(self, a: Candidate, b: Candidate) -> None:
        """Compare two runs, and say what differs, how far, and how surely."""
        self.result.show_loading("reading")
        try:
            compared = await called(lambda: compare(a.read().rows, b.read().rows))
        except LocalLLMError as error:
            self.result.show_failed(error)
            return
        rows = comparison_rows(compared)
        self.table.rows = tuple(map(_ordered, rows))
        self.table.display = bool(rows)
        lines = [] if rows else ["They have no test in common."]
        if compared.differences:
            lines += [NOT_THE_SAME, *(f"  {text}" for text in difference_lines(compared))]
        lines += [*only_lines(compared), *([P_VALUE] if rows else [])]
        self.said.update("\n".join(lines))
        self.result.border_subtitle = printable(f"A: {a.name} · B: {b.name}")
        self.result.show_ready()


def _ordered(cells: tuple[str, ...]) -> tuple[str, ...]:
    """Put the change and what is to be thought of it first: A and B may need to be scrolled to."""
    test, a, b, change, span, p, verdict = cells
    return (test, change, verdict, span, p, a, b)


def _found(measured: Measured | None, model: str | None) -> tuple[list[Candidate], str | None]:
    """Return what can be compared, and why some of it cannot be read; it blocks."""
    kept, problem = _kept(model)
    return [*_candidates(measured), *kept], problem


def _candidates(measured: Measured | None) -> Iterator[Candidate]:
    if measured is not None:
        file = BenchFile(name="this run", rows=measured.rows)
        yield Candidate(
            label=f"this   {measured.name}, {len(measured.rows)} tests", name=file.name, file=file
        )
    for each in saved_runs(bench_folder()):
        yield Candidate(label=f"file   {_when(each)}  {each.name}", name=each.name, earlier=each)


def _kept(model: str | None) -> tuple[list[Candidate], str | None]:
    if model is None:
        return [], None
    try:
        found = kept_runs(model)
    except LocalLLMError as error:
        return [], error.message
    return [
        Candidate(
            label=f"kept   {_when(each)}  {each.name}, {len(each.rows)} tests, means alone",
            name=f"{each.name}, {_when(each)}",
            earlier=each,
        )
        for each in found
    ], None


def _when(earlier: Earlier) -> str:
    return earlier.when.astimezone().strftime("%Y-%m-%d %H:%M")
