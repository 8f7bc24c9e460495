"""The plan as text: copied to the terminal's clipboard, and shown where a terminal refuses that."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.getters import query_one
from textual.reactive import var
from textual.screen import ModalScreen
from textual.widgets import Button, Static, TextArea

from localllm.tui.plan.copying import FORMS, Form, copied, usual_form
from localllm.tui.subject import Planned

_SENT = "Sent to the terminal's clipboard. Where it does not arrive, select the text here."


class CopyDialog(ModalScreen[None]):
    """Shows the plan in each form, and copies the one that is asked for."""

    CSS_PATH = "copy_dialog.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Leave", id="copy.leave"),
        Binding("p", "copy('plan')", "plan", id="copy.plan",
                tooltip="Copy the command that makes this plan"),
        Binding("c", "copy('chat')", "chat", id="copy.chat",
                tooltip="Copy the command that loads the model like this, to talk"),
        Binding("b", "copy('bench')", "bench", id="copy.bench",
                tooltip="Copy the command that measures the model like this"),
        Binding("f", "copy('llama')", "flags", id="copy.llama",
                tooltip="Copy the command of llama.cpp's own server"),
        Binding("j", "copy('json')", "JSON", id="copy.json",
                tooltip="Copy the plan as its JSON document"),
        Binding("enter,y", "copy_shown", "Copy", priority=True, id="copy.shown",
                tooltip="Copy what is shown"),
    ]  # fmt: skip

    form: var[Form] = var[Form]("plan", init=False)

    shown = query_one("#copy-text", TextArea)
    note = query_one("#copy-note", Static)

    def __init__(self, planned: Planned) -> None:
        """Take what was planned."""
        super().__init__()
        self._planned = planned

    def compose(self) -> ComposeResult:
        """Yield a button for each form, the text, and what became of it."""
        with Vertical(id="copy-dialog") as box:
            box.border_title = "Copy the plan"
            box.border_subtitle = "p c b f j copy · enter copies what is shown · esc leaves"
            with Horizontal(id="copy-forms"):
                for form, (key, name) in FORMS.items():
                    yield Button(f"{key} {name}", id=f"copy-{form}", compact=True)
            yield TextArea(read_only=True, soft_wrap=True, compact=True, id="copy-text")
            yield Static(markup=False, id="copy-note")

    def watch_form(self, form: Form) -> None:
        """Show the text of a form."""
        made = copied(form, self._planned)
        self.shown.load_text(made.text or made.why_not)
        for each in FORMS:
            button = self.query_one(f"#copy-{each}", Button)
            button.variant = "primary" if each == form else "default"
        self.note.update("")

    def on_mount(self) -> None:
        """Show the form that a person most likely wants."""
        self.set_reactive(CopyDialog.form, usual_form(self._planned))
        self.watch_form(self.form)
        self.shown.focus()

    def action_copy(self, form: Form) -> None:
        """Show a form and copy it."""
        self.form = form
        self.action_copy_shown()

    def action_copy_shown(self) -> None:
        """Copy what is shown."""
        text = copied(self.form, self._planned).text
        if text is not None:
            self.app.copy_to_clipboard(text)
            self.note.update(_SENT)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        form: Form
        for form in FORMS:
            if event.button.id == f"copy-{form}":
                self.action_copy(form)
