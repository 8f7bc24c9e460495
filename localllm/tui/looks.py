"""A titled panel with its four looks: empty, loading, ready, failed.

A lasting state is shown where the thing would be, in words: no look depends on colour.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.reactive import var
from textual.widget import Widget
from textual.widgets import Static

from localllm.core.text import printable
from localllm.errors import LocalLLMError

Look = Literal["empty", "loading", "ready", "failed"]


class Panel(Vertical):
    """A box whose children are shown when it is ready; otherwise a sentence says why not.

    Give it children, or override ``compose_body``.
    """

    DEFAULT_CSS = """
    Panel {
        height: auto;
        border: round $panel-lighten-2;
        border-title-color: $text-muted;
        padding: 0 1;
        &:focus-within { border: round $primary; border-title-color: $text; }
        & > .panel--note { display: none; height: auto; color: $text-muted; }
        & > .panel--body { height: auto; }
        &.-empty, &.-loading, &.-failed {
            & > .panel--note { display: block; }
            & > .panel--body { display: none; }
        }
        &.-failed { border: round $error; border-title-color: $text-error; }
        &.-failed > .panel--note { color: $text; }
    }
    """

    look: var[Look] = var("empty", init=False)

    def __init__(
        self,
        *children: Widget,
        title: str = "",
        empty: str = "",
        look: Look = "empty",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """Take what is shown when ready. ``empty``: a sentence, with the key that fills it."""
        super().__init__(id=id, classes=classes)
        self._body = children
        self.border_title = title
        self._note = Static(empty, markup=False, classes="panel--note")
        self.set_reactive(Panel.look, look)
        self.add_class(f"-{look}")

    def compose(self) -> ComposeResult:
        """Yield the sentence, and what is shown when it is ready."""
        yield self._note
        with Vertical(classes="panel--body"):
            yield from self.compose_body()

    def compose_body(self) -> Iterable[Widget]:
        """Yield what is shown when it is ready."""
        return self._body

    def watch_look(self, before: Look, after: Look) -> None:
        """Put on the class of a look."""
        self.remove_class(f"-{before}").add_class(f"-{after}")

    def show_ready(self) -> None:
        """Show the children."""
        self.look = "ready"

    def show_empty(self, sentence: str) -> None:
        """Say what would be here, and which key brings it."""
        self._say(Content(sentence))
        self.look = "empty"

    def show_loading(self, sentence: str) -> None:
        """Say what is being waited for, with its progress where there is some."""
        self._say(Content(f"… {sentence}"))
        self.look = "loading"

    def show_failed(self, error: LocalLLMError | str, hint: str | None = None) -> None:
        """Say what went wrong, and what to try. ``hint`` wins over the error's own."""
        message = error.message if isinstance(error, LocalLLMError) else error
        hint = hint or (error.hint if isinstance(error, LocalLLMError) else None)
        parts = [Content.styled("✗ ", "$text-error"), Content(printable(message))]
        if hint:
            parts += [Content("\n"), Content.styled("→ ", "$text-accent"), Content(printable(hint))]
        self._say(Content.assemble(*parts))
        self.look = "failed"

    def _say(self, content: Content) -> None:
        self._note.update(content)
