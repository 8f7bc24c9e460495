"""Where a run is saved to: a path is offered, and no file is written over."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.getters import query_one
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from localllm.benching.saving import save_new
from localllm.benching.whole import Measured
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.tui.threads import called


class SaveDialog(ModalScreen[Path | None]):
    """Its result is the file; None where the person left."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Leave", id="save.leave", tooltip="Save nothing"),
    ]

    path = query_one("#save-path", Input)
    said = query_one("#save-said", Static)

    def __init__(self, measured: Measured, offered: Path) -> None:
        """Take the run, and the path that is offered."""
        super().__init__()
        self._measured, self._offered = measured, offered

    def compose(self) -> ComposeResult:
        """Yield the path, what went wrong, and two buttons."""
        with Vertical(id="save-dialog", classes="bench--dialog") as box:
            box.border_title = "Save the run"
            yield Static("As localllm bench --save writes it, to be compared later.", markup=False)
            yield Input(str(self._offered), id="save-path", compact=True)
            yield Static(id="save-said", markup=False)
            with Horizontal(classes="bench--buttons"):
                yield Button("Save (enter)", id="save-yes", variant="primary", compact=True)
                yield Button("Leave (escape)", id="save-no", compact=True)

    @on(Button.Pressed, "#save-no")
    def _leave(self) -> None:
        self.dismiss(None)

    @on(Button.Pressed, "#save-yes")
    @on(Input.Submitted)
    def _wished(self) -> None:
        text = self.path.value.strip()
        if text:
            self._save(Path(os.path.expanduser(text)).absolute())

    @work(group="save", exclusive=True)
    async def _save(self, path: Path) -> None:
        try:
            await called(lambda: save_new(path, self._measured.document()))
        except LocalLLMError as error:
            hint = f" {error.hint}" if error.hint else ""
            self.said.update(Content(f"✗ {printable(error.message)}{printable(hint)}"))
            return
        self.dismiss(path)
