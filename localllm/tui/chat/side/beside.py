"""What the column and the strip have in common: the figures of a run, and the four looks.

What the screen does with them, for ``course = Course()`` of the loaded model::

    course.asked(time.monotonic())                    # when a request goes out
    course.take(event, time.monotonic())              # each event of the answer
    course.ended(turn.answer)                         # after ``turn.end()``
    for beside in self.query(BesideRun):              # on a timer, while something runs: at most
        beside.figures = figures_of(session, course)  # four times a second; and once after the end

``show_loading``, ``show_failed`` and ``show_empty`` are those of every panel; the next figures
bring the ready look back.
"""

from __future__ import annotations

from textual.reactive import var

from localllm.tui.chat.side.figures import RunFigures
from localllm.tui.looks import Panel

EMPTY = "No model is loaded. F2 shows what is here, F3 plans one."


class BesideRun(Panel):
    """Figures of a run. None is the empty look."""

    figures: var[RunFigures | None] = var(None, init=False, always_update=True)

    def __init__(
        self, *, title: str = "", id: str | None = None, classes: str | None = None
    ) -> None:
        """Begin with the empty look."""
        super().__init__(title=title, empty=EMPTY, id=id, classes=classes)

    def watch_figures(self, figures: RunFigures | None) -> None:
        """Show them, or that there is no model."""
        if figures is None:
            if self.look != "empty":
                self.show_empty(EMPTY)
            return
        self.lay_out(figures)
        self.show_ready()

    def on_resize(self) -> None:
        """Say more or less by the room that there is."""
        if self.figures is not None:
            self.lay_out(self.figures)

    def lay_out(self, figures: RunFigures) -> None:
        """Draw what has changed."""
        raise NotImplementedError
