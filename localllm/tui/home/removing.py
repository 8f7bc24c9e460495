"""The question before a model is deleted: what goes, what that frees, and what stays and why."""

from __future__ import annotations

from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.getters import query_one
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from localllm import keeping
from localllm.core.kept import KeptModel, Removal
from localllm.core.text import printable
from localllm.errors import LocalLLMError, UsageError
from localllm.tui.fetching.ways import in_keys
from localllm.tui.threads import called
from localllm.words.kept import removal_lines, removed_line


class RemoveDialog(ModalScreen[bool]):
    """Deletes a model that was fetched here, if the person says so. Its result: whether it did."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "keep", "Keep it", id="remove.keep", tooltip="Delete nothing"),
        Binding("d", "delete", "Delete", id="remove.delete", tooltip="Delete what is listed"),
    ]

    text = query_one("#remove-text", Static)
    delete_button = query_one("#remove-delete", Button)

    def __init__(self, model: KeptModel) -> None:
        """Take what may go; nothing is looked at yet."""
        super().__init__()
        self._model = model
        self._removal: Removal | None = None
        self._force = False

    def compose(self) -> ComposeResult:
        """Yield what would go, and two buttons; Enter keeps it."""
        with Vertical(classes="dialog") as box:
            box.border_title = printable(f"Remove {self._model.name}")
            with VerticalScroll(classes="dialog--text", can_focus=False):
                yield Static("… looking at what would go", id="remove-text", markup=False)
            with Horizontal(classes="dialog--buttons"):
                yield Button("Delete (d)", id="remove-delete", variant="error", compact=True)
                yield Button("Keep it (escape)", id="remove-keep", compact=True)

    def on_mount(self) -> None:
        """Look at what would go."""
        self.delete_button.display = False
        self.query_one("#remove-keep", Button).focus()
        self._plan()

    @work(group="remove", exclusive=True)
    async def _plan(self) -> None:
        try:
            self._removal = await called(lambda: keeping.plan_removal([self._model]))
        except UsageError as error:  # another program's: it is not ours to delete
            self._refuse(error)
        except LocalLLMError as error:
            self._refuse(error)
            self._force = True
            self._removal = await called(lambda: keeping.plan_removal([self._model], force=True))
            self._offer("Delete all the same (d)")
        else:
            lines = "\n".join(removal_lines(self._removal))
            self.text.update(Content(printable(lines)))
            self._offer("Delete (d)")

    def _refuse(self, error: LocalLLMError) -> None:
        hint = f"\n→ {in_keys(error.hint)}" if error.hint else ""
        self.text.update(Content(printable(f"✗ {error.message}{hint}")))

    def _offer(self, label: str) -> None:
        self.delete_button.label = label
        self.delete_button.display = True
        self.delete_button.refresh(layout=True)

    @work(group="remove", exclusive=True)
    async def _delete(self, removal: Removal) -> None:
        self.delete_button.display = False
        self.text.update(Content("… deleting"))
        try:
            freed_bytes = await called(lambda: keeping.remove(removal, force=self._force))
        except LocalLLMError as error:
            self._refuse(error)
            return
        self.app.notify(removed_line(freed_bytes), markup=False)
        self.dismiss(True)

    def action_delete(self) -> None:
        """Delete it, once it is known what that means."""
        if self._removal is not None and self.delete_button.display:
            self._delete(self._removal)

    def action_keep(self) -> None:
        """Leave everything as it is."""
        self.dismiss(False)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button is self.delete_button:
            self.action_delete()
        else:
            self.action_keep()
