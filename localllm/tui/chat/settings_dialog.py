"""Where it is changed how answers are asked for and shown: the names of ``/set``."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.getters import query_one
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from localllm.core.text import printable
from localllm.errors import UsageError
from localllm.talking.settings import SETTINGS, Settings, changed, value_text


class SettingsDialog(ModalScreen[Settings | None]):
    """Its result is the new settings; None where the person left."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "apply", "Use them", id="settings.apply", tooltip="From now on"),
        Binding("escape", "dismiss(None)", "Leave", id="settings.leave", tooltip="Change nothing"),
        Binding("up", "go(-1)", "Up", show=False, priority=True, id="settings.up"),
        Binding("down", "go(1)", "Down", show=False, priority=True, id="settings.down"),
    ]

    said = query_one("#settings-said", Static)

    def __init__(self, settings: Settings) -> None:
        """Take the settings in force."""
        super().__init__()
        self._settings = settings

    def compose(self) -> ComposeResult:
        """Yield a row for each setting, what is wrong with one, and the buttons."""
        with Vertical(classes="chat--dialog") as box:
            box.border_title = "How answers are drawn and shown"
            box.border_subtitle = "enter uses them · ↑↓ move · escape leaves"
            with VerticalScroll(id="settings-rows", can_focus=False):
                for name, setting in SETTINGS.items():
                    with Horizontal(classes="settings--row"):
                        yield Static(name, markup=False, classes="settings--name")
                        yield Input(value_text(self._settings, name), name=name, compact=True)
                        yield Static(setting.help, markup=False, classes="settings--help")
            yield Static(markup=False, id="settings-said")
            with Horizontal(classes="chat--buttons"):
                yield Button("Use them (enter)", id="settings-yes", variant="primary", compact=True)
                yield Button("Leave (escape)", id="settings-no", compact=True)

    def action_go(self, step: int) -> None:
        """Go to the setting above or below."""
        inputs = list(self.query(Input))
        at = next((n for n, each in enumerate(inputs) if each.has_focus), 0)
        inputs[(at + step) % len(inputs)].focus()

    def action_apply(self) -> None:
        """Use what is typed, if all of it can be read."""
        settings = self._settings
        for field in self.query(Input):
            assert field.name is not None
            if field.value.strip() == value_text(self._settings, field.name):
                continue
            try:
                settings = changed(settings, field.name, field.value)
            except UsageError as error:
                self.said.update(Content(f"✗ {printable(error.message)}"))
                field.focus()
                return
        self.dismiss(settings)

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_apply()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "settings-yes":
            self.action_apply()
        else:
            self.dismiss(None)
