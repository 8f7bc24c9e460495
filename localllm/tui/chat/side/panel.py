"""The column beside the conversation: sections that say as much as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from localllm.tui.chat.side.beside import BesideRun
from localllm.tui.chat.side.context import context_rows
from localllm.tui.chat.side.figures import RunFigures
from localllm.tui.chat.side.heat import heat_rows
from localllm.tui.chat.side.memory import memory_rows
from localllm.tui.chat.side.pieces import Detail, Rows, heading
from localllm.tui.chat.side.power import power_rows
from localllm.tui.chat.side.speed import speed_rows

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


class Section(Widget):
    """One section. It is drawn anew only when what it says has changed."""

    DEFAULT_CSS = """
    Section { width: 1fr; height: auto; }
    """

    def __init__(self, name: str, tooltip: str) -> None:
        """Take what it is called."""
        super().__init__()
        self.title = name
        self.tooltip = tooltip
        self._rows: Rows = []
        self._apart = False

    def show(self, rows: Rows, *, apart: bool = False) -> None:
        """Show other rows; nothing happens where they are the same. ``apart``: after a gap."""
        before, was_apart = self._rows, self._apart
        same_height = len(before) == len(rows) and apart == was_apart
        if same_height and all(map(Content.is_same, before, rows)):
            return
        self._rows, self._apart = rows, apart
        self.refresh(layout=not same_height)

    def render(self) -> Content:
        """Return the heading and the rows."""
        gap = [Content("")] if self._apart else []
        return Content("\n").join([*gap, heading(self.title, self.size.width), *self._rows])

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return the rows, the heading's and the gap's."""
        return len(self._rows) + 1 + self._apart


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
            rows = _as_much(figures, width - self.scrollbar_size_vertical, height)
        airy = n_rows + len(rows) - 1 <= height
        for i, (name, section) in enumerate(self._sections.items()):
            section.show(rows[name], apart=airy and i > 0)


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
