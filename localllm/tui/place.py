"""What every place of the app has: the masthead, the footer, and what the app looks at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.reactive import var
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer

from localllm.tui.masthead import Masthead
from localllm.tui.messages import Place
from localllm.tui.subject import Planned, Subject

if TYPE_CHECKING:
    from localllm.tui.app import LocalLLMApp
    from localllm.tui.desk import Desk


class PlaceScreen(Screen[None]):
    """A mode's base screen. Override ``compose_place``, and the watchers that matter.

    ``subject`` and ``planned`` follow the app's; they are changed by messages (``messages.py``).
    """

    PLACE: ClassVar[Place]

    subject: var[Subject] = var(Subject)
    planned: var[Planned | None] = var(None)

    def compose(self) -> ComposeResult:
        """Yield the masthead, the place itself, and the footer."""
        yield Masthead(self.PLACE).data_bind(PlaceScreen.subject, PlaceScreen.planned)
        yield from self.compose_place()
        yield Footer(compact=True, show_command_palette=False)

    def compose_place(self) -> Iterable[Widget]:
        """Yield what is between masthead and footer."""
        raise NotImplementedError

    def on_mount(self) -> None:
        """Follow the app. Subclasses have their own ``on_mount``; Textual calls both."""
        self.watch(self.app, "subject", self._follow_subject)
        self.watch(self.app, "planned", self._follow_planned)

    @property
    def local_app(self) -> LocalLLMApp:
        """The app, by its type."""
        return cast("LocalLLMApp", self.app)

    @property
    def desk(self) -> Desk:
        """The way to the machine."""
        return self.local_app.desk

    def _follow_subject(self, subject: Subject) -> None:
        self.subject = subject

    def _follow_planned(self, planned: Planned | None) -> None:
        self.planned = planned
