"""What the column and the strip have in common: the figures of a run, and the four looks.

What the screen does with them, for ``course = Course()`` of the loaded model::

    course.asked(time.monotonic())                    # when a request goes out
    course.take(event, time.monotonic())              # each event of the answer
    course.ended(turn.answer)                         # after ``turn.end()``
    for beside in self.query(BesideRun):              # on a timer, while something runs: at most
        beside.figures = figures_of(session, course)  # four times a second; and once after the end

    for beside in self.query(BesideRun):              # when something stands in the way of figures,
        beside.stand(situation)                       # or does no more
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.reactive import var

from localllm.core.text import printable
from localllm.tui.chat.side.figures import RunFigures
from localllm.tui.looks import Panel

if TYPE_CHECKING:
    from localllm.tui.chat.situation import Situation

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
        if self.display:  # else when it comes into view
            self.lay_out(figures)
        self.show_ready()

    def stand(self, situation: Situation) -> None:
        """Say what stands in the way of figures, in short: all of it is said elsewhere.

        What is only offered stands in no way; a clear situation brings the figures back.
        """
        if situation.is_offer:
            return
        if situation.look == "loading":
            self.show_loading(self.loading_words(situation))
        elif situation.look == "failed":
            step = situation.step
            self.show_failed(situation.title, None if step is None else f"enter: {step}")
        elif situation.look == "empty":
            self.show_empty(EMPTY)
        else:
            self.watch_figures(self.figures)

    def loading_words(self, situation: Situation) -> str:
        """Return how far a load is, or what else goes on."""
        return printable("\n".join(filter(None, (situation.title, situation.text))))

    def on_show(self) -> None:
        """Catch up."""
        self.on_resize()

    def on_resize(self) -> None:
        """Say more or less by the room that there is."""
        if self.figures is not None:
            self.lay_out(self.figures)

    def lay_out(self, figures: RunFigures) -> None:
        """Draw what has changed."""
        raise NotImplementedError
