"""The column beside the conversation: sections that say as much as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from textual.content import Content
from textual.widget import Widget

from localllm.tui.chat.side.beside import BesideRun
from localllm.tui.chat.side.context import context_rows
from localllm.tui.chat.side.figures import RunFigures
from localllm.tui.chat.side.heat import heat_rows
from localllm.tui.chat.side.memory import memory_rows
from localllm.tui.chat.side.pieces import Detail, Rows, heading
from localllm.tui.chat.side.power import power_rows
from localllm.tui.chat.side.speed import speed_rows
from localllm.tui.widgets.rows import RowsView

RowsOf = Callable[[RunFigures, int, Detail], Rows]

_SECTIONS: Mapping[str, tuple[RowsOf, str]] = {
    "speed": (
        lambda f, width, detail: speed_rows(f.speed, width, detail),
        "Tokens a second of the answer: now, over the last two seconds, and its mean. est. is the "
        "plan's estimate for just these tokens, at their depth; the line is its 80 % range, "
        "┼ its middle and ● the mean.",
    ),
    "power": (
        lambda f, width, detail: power_rows(f.power, width, detail),
        "Watts of what is named, by the meter that is named, and what a generated token takes. "
        "While an answer comes its joules are from the watts seen so far (~); afterwards from the "
        "meter's own account, with its errors.",
    ),
    "memory": (
        lambda f, width, detail: memory_rows(f.memory, width, detail),
        "In use now of all there is: on a GPU by everybody, in RAM by the engine. ┃ is where the "
        "plan expects it. Below, what llama.cpp allocated beside what was planned.",
    ),
    "context": (
        lambda f, width, detail: context_rows(f.context, width, detail),
        "Tokens in the context of all that fit. What happens when it is full: /set context_shift.",
    ),
    "heat": (
        lambda f, width, detail: heat_rows(f.heat, width, detail),
        "The hottest device of this run, the slowest clock, and what holds clocks back.",
    ),
}
_LESS: tuple[tuple[str, Detail], ...] = (
    ("memory", 2),
    ("power", 2),
    ("speed", 2),
    ("heat", 1),
    ("context", 2),
    ("context", 1),
    ("power", 1),
    ("memory", 1),
    ("speed", 1),
)
"""What is told in less detail, one after the other, until all sections have room."""


class Section(RowsView):
    """One section: a heading and its rows."""

    DEFAULT_CSS = """
    Section { width: 1fr; height: auto; }
    """

    def __init__(self, name: str, tooltip: str) -> None:
        """Take what it is called."""
        super().__init__()
        self.title = name
        self.tooltip = tooltip

    def say(self, rows: Rows, *, width: int, apart: bool = False) -> None:
        """Show other rows of a width. ``apart``: after a gap."""
        gap = [Content("")] if apart else []
        self.show([*gap, heading(self.title, width), *rows])


class SidePanel(BesideRun):
    """What is measured beside a running answer."""

    DEFAULT_CSS = """
    SidePanel {
        width: 40;
        height: 1fr;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
    }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        """Begin with the empty look."""
        super().__init__(title="this run", id=id, classes=classes)
        self._sections = {name: Section(name, hint) for name, (_, hint) in _SECTIONS.items()}

    def compose_body(self) -> Iterable[Widget]:
        """Yield the sections."""
        return self._sections.values()

    def lay_out(self, figures: RunFigures) -> None:
        """Say as much as there is room for."""
        width, height = self.content_size  # as if there were no scroll bar
        if width < 1 or height < 1:
            return
        rows = _as_much(figures, width, height)
        n_rows = _height(rows)
        if n_rows > height:
            width -= self.scrollbar_size_vertical
            rows = _as_much(figures, width, height)
        airy = n_rows + len(rows) - 1 <= height
        for i, (name, section) in enumerate(self._sections.items()):
            section.say(rows[name], width=width, apart=airy and i > 0)


def _as_much(figures: RunFigures, width: int, height: int) -> dict[str, Rows]:
    """Return the sections' rows, in as much detail as there is room for."""
    rows = {name: rows_of(figures, width, 3) for name, (rows_of, _) in _SECTIONS.items()}
    for name, detail in _LESS:
        if _height(rows) <= height:
            break
        rows[name] = _SECTIONS[name][0](figures, width, detail)
    return rows


def _height(rows: Mapping[str, Rows]) -> int:
    """With the headings."""
    return sum(len(some) + 1 for some in rows.values())
