"""All figures of a chat, as ``/stats`` has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen

from localllm.core.text import printable
from localllm.tui.widgets.labelled import Labelled, Row
from localllm.words.energy_lines import Line


class FiguresDialog(ModalScreen[None]):
    """Shown until the person leaves."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss(None)", "Close", id="figures.close"),
    ]

    def __init__(self, lines: Sequence[Line]) -> None:
        """Take what each figure is about, and its text."""
        super().__init__()
        self._lines = lines

    def compose(self) -> ComposeResult:
        """Yield the lines."""
        rows = [
            Row(label=Content.styled(printable(name), "bold"), lines=(Content(printable(text)),))
            for name, text in self._lines
        ]
        with VerticalScroll(classes="chat--dialog") as box:
            box.border_title = "All figures"
            box.border_subtitle = "escape closes"
            yield Labelled(rows, id="figures-rows")
