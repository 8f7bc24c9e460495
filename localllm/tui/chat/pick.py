"""A dialog in which one of several things is chosen; typing narrows them down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.getters import query_one
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from localllm.core.text import printable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Choice(Generic[T]):
    """One of them."""

    value: T
    title: str
    more: str = ""
    """What stands below it."""


class PickDialog(ModalScreen[T | None]):
    """Its result is what was chosen; None where the person left."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Leave", id="pick.leave", tooltip="Choose nothing"),
        Binding("up", "move(-1)", "Up", show=False, priority=True, id="pick.up"),
        Binding("down", "move(1)", "Down", show=False, priority=True, id="pick.down"),
        Binding("pageup", "move(-8)", "Up", show=False, priority=True, id="pick.page_up"),
        Binding("pagedown", "move(8)", "Down", show=False, priority=True, id="pick.page_down"),
    ]

    typed = query_one("#pick-typed", Input)
    options = query_one("#pick-list", OptionList)
    said = query_one("#pick-said", Static)

    def __init__(
        self,
        title: str,
        choices: Sequence[Choice[T]] = (),
        *,
        placeholder: str = "type to narrow down",
        none: str = "Nothing of that name.",
    ) -> None:
        """Take what there is; ``none``: what is said where nothing is left of it."""
        super().__init__()
        self._title, self._all, self._placeholder, self._none = title, choices, placeholder, none
        self.choices: Sequence[Choice[T]] = ()

    def compose(self) -> ComposeResult:
        """Yield what is typed, the list, and what is said instead of it."""
        with Vertical(id="pick-box", classes="chat--dialog") as box:
            box.border_title = Content(printable(self._title))
            box.border_subtitle = Content(self.keys)
            yield Input(placeholder=self._placeholder, id="pick-typed", compact=True)
            yield OptionList(id="pick-list", markup=False)
            yield Static(markup=False, id="pick-said", classes="chat--said")

    @property
    def keys(self) -> str:
        """What the keys do."""
        return "enter chooses · escape leaves"

    def on_mount(self) -> None:
        """Show all, and begin to type."""
        self.options.can_focus = False
        self.typed.focus()
        self.narrow("")

    def narrow(self, query: str) -> None:
        """Show what holds every word of a query."""
        words = query.casefold().split()
        self.show(
            [
                choice
                for choice in self._all
                if all(word in f"{choice.title} {choice.more}".casefold() for word in words)
            ]
        )

    def show(self, choices: Sequence[Choice[T]], *, said: str | None = None) -> None:
        """Show these; ``said``: what is said where there are none."""
        self.choices = choices
        self.options.set_options([Option(_row(choice)) for choice in choices])
        self.options.highlighted = 0 if choices else None
        self.options.display = bool(choices)
        self.said.display = not choices
        self.said.update(Content(said or self._none))

    @property
    def chosen(self) -> Choice[T] | None:
        """What is highlighted."""
        at = self.options.highlighted
        return None if at is None or at >= len(self.choices) else self.choices[at]

    def action_move(self, step: int) -> None:
        """Go up or down the list."""
        if self.choices:
            at = (self.options.highlighted or 0) + step
            self.options.highlighted = max(0, min(at, len(self.choices) - 1))

    @on(Input.Changed, "#pick-typed")
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.narrow(event.value)

    @on(Input.Submitted, "#pick-typed")
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        if self.chosen is not None:
            self.dismiss(self.chosen.value)

    @on(OptionList.OptionSelected, "#pick-list")
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(self.choices[event.option_index].value)


def _row(choice: Choice[T]) -> Content:
    title = Content(printable(choice.title))
    if not choice.more:
        return title
    return Content.assemble(title, "\n", (f"  {printable(choice.more)}", "$text-muted"))
