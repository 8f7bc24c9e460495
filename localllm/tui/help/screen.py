"""The help of a place: what it is for, its keys, the words. Escape closes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Markdown, Static

from localllm.tui.help.glossary import GLOSSARY
from localllm.tui.help.keys import KeyGroup
from localllm.tui.widgets.labelled import Labelled, Row


class HelpScreen(ModalScreen[None]):
    """Shown over the place that it is about."""

    CSS_PATH = "screen.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark", "close", "Close", id="help.close"),
        Binding("down,j", "scroll('down')", "Down", show=False, id="help.down"),
        Binding("up,k", "scroll('up')", "Up", show=False, id="help.up"),
        Binding("pagedown,space", "scroll('page_down')", "Page", show=False, id="help.page_down"),
        Binding("pageup", "scroll('page_up')", "Page", show=False, id="help.page_up"),
        Binding("home", "scroll('home')", "Top", show=False, id="help.top"),
        Binding("end", "scroll('end')", "Bottom", show=False, id="help.bottom"),
    ]

    def __init__(self, title: str, text: str, groups: Sequence[KeyGroup]) -> None:
        """Take what the place is called, what it is for (Markdown), and the keys."""
        super().__init__()
        self._title, self._text, self._groups = title, text, groups

    def compose(self) -> ComposeResult:
        """Yield the text, the keys by group, the words."""
        with VerticalScroll(id="help", can_focus=False) as box:
            box.border_title = f"Help · {self._title}"
            box.border_subtitle = "escape closes, ↑↓ scroll"
            if self._text:
                yield Markdown(self._text, id="help-text")
            for group in self._groups:
                yield Static(Content(group.title), classes="help--heading")
                yield Labelled([_key_row(key.keys, key.name, key.text) for key in group.keys])
            yield Static(Content("Words"), classes="help--heading")
            yield Labelled([_word_row(word, meaning) for word, meaning in GLOSSARY])

    def action_close(self) -> None:
        """Go back."""
        self.dismiss()

    def action_scroll(self, how: str) -> None:
        """Move the text."""
        box = self.query_one("#help", VerticalScroll)
        getattr(box, f"scroll_{how}")(animate=False)


def _key_row(keys: str, name: str, text: str) -> Row:
    said = Content.assemble((name, "bold"), *([f"  {text}"] if text else []))
    return Row(label=Content.styled(keys, "bold $text-accent"), lines=(said,))


def _word_row(word: str, meaning: str) -> Row:
    return Row(label=Content.styled(word, "bold"), lines=(Content(meaning),))
