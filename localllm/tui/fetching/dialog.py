"""The dialog of one download: what it costs, how it goes, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.getters import query_one
from textual.reactive import var
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from localllm.core.plan import Plan
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.session import LocalModel
from localllm.tui.fetching.facts import before
from localllm.tui.fetching.fetches import Fetch, Fetches
from localllm.tui.fetching.progress import FetchProgressView
from localllm.tui.fetching.ways import in_keys
from localllm.tui.subject import Subject
from localllm.tui.threads import called

if TYPE_CHECKING:
    from localllm.choosing import Decided
    from localllm.tui.app import LocalLLMApp

Phase = Literal["before", "running", "stopped", "failed", "done"]

_LABELS: dict[Phase, tuple[str, str]] = {
    "before": ("Fetch (enter)", "Leave (escape)"),
    "running": ("Go on elsewhere (h)", "Stop (escape)"),
    "stopped": ("Go on (enter)", "Leave (escape)"),
    "failed": ("Try again (enter)", "Leave (escape)"),
    "done": ("Go on (enter)", ""),
}
"""The two buttons of each phase."""


class FetchDialog(ModalScreen[LocalModel | None]):
    """Fetches a model that was decided on, where the person wants it.

    Its result is the model, once it is here and verified; None where the person left, stopped it,
    or let it go on behind the screens (``app.fetches`` has it then).
    """

    CSS_PATH = "dialog.tcss"
    HELP_TEXT = """\
A download comes into the shared Hugging Face cache, where other programs find it, and every byte \
is held to the hash that the Hub states. Stop it whenever you like: what came is kept, and the \
same again goes on there."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter",
            "forth",
            "Fetch",
            id="fetch.start",
            tooltip="Begin the download, or go on with the model that came",
        ),
        Binding(
            "escape",
            "back",
            "Stop, leave",
            id="fetch.stop",
            tooltip="Stop the download and keep what came; leave where nothing comes",
        ),
        Binding(
            "h",
            "hide",
            "Go on elsewhere",
            id="fetch.hide",
            tooltip="Let the download go on while you are elsewhere",
        ),
    ]

    phase: var[Phase] = var[Phase]("before", init=False)

    facts = query_one("#fetch-facts", Static)
    going = query_one("#fetch-going", FetchProgressView)
    outcome = query_one("#fetch-outcome", Static)

    def __init__(self, decided: Decided) -> None:
        """Take what was decided; its ``fetch`` says what is to come."""
        super().__init__()
        assert decided.fetch is not None, "what is here is not fetched"
        self._decided, self._wanted = decided, decided.fetch
        self._fetch: Fetch | None = None

    def compose(self) -> ComposeResult:
        """Yield the facts, the progress, what became of it, and two buttons."""
        self._wanted = self._fetches.timed(self._wanted)
        with Vertical(id="fetch-dialog") as box:
            box.border_title = printable(f"Fetch {self._wanted.name}")
            with VerticalScroll(id="fetch-scroll", can_focus=False):
                yield Static(before(self._decided, self._wanted, plan=None), id="fetch-facts")
                yield FetchProgressView(id="fetch-going")
                yield Static(id="fetch-outcome")
            with Horizontal(id="fetch-buttons"):
                yield Button(id="fetch-forth", variant="primary", compact=True)
                yield Button(id="fetch-back", compact=True)

    def on_mount(self) -> None:
        """Show what there is; a download that goes on already is shown as it goes."""
        for button in self.query(Button):
            button.active_effect_duration = 0  # meanwhile it would take no second Enter
        self._fetches.told.subscribe(self, self._hear)
        fetch = self._fetches.of(self._wanted.name)
        if fetch is not None and fetch.is_running:
            self.show_fetch(fetch)
        else:
            self._look()
        self.watch_phase(self.phase)

    def on_unmount(self) -> None:
        """Leave its end to be told elsewhere."""
        if self._fetch is not None:
            self._fetch.is_watched = False

    @property
    def _fetches(self) -> Fetches:
        return cast("LocalLLMApp", self.app).fetches

    # -- before ----------------------------------------------------------------------------------

    @work(group="fetch-plan", exclusive=True)
    async def _look(self) -> None:
        """Look whether there is room for it, on the disk and in memory."""
        desk = cast("LocalLLMApp", self.app).desk
        wanted, decided = self._wanted, self._decided

        def look() -> Plan:
            from localllm.fetching import check_room

            check_room(wanted)
            subject = Subject(name=decided.name, wishes=decided.policy)
            return desk.plan(subject, decided=decided).plan

        try:
            plan = await called(look)
        except LocalLLMError as error:
            self._fail(error)
        else:
            self.facts.update(before(decided, wanted, plan=plan))

    # -- what it is told -------------------------------------------------------------------------

    def _hear(self, fetch: Fetch) -> None:
        """Look at a download later: a signal swallows what goes wrong in whoever hears it."""
        if fetch.name == self._wanted.name:
            self.call_next(self.show_fetch, fetch)

    def show_fetch(self, fetch: Fetch) -> None:
        """Show a download as it is now."""
        self._fetch = fetch
        fetch.is_watched = True
        self.going.show(fetch)
        if fetch.is_running:
            self.phase = "running"
        elif fetch.error is not None:
            self._fail(fetch.error)
        else:
            self.outcome.update(_outcome(fetch))
            self.phase = "done" if fetch.state == "done" else "stopped"

    def _fail(self, error: LocalLLMError) -> None:
        parts = [Content.styled("✗ ", "$text-error"), Content(printable(error.message))]
        if error.hint:
            parts += [Content("\n→ "), Content(printable(in_keys(error.hint)))]
        self.outcome.update(Content.assemble(*parts))
        self.phase = "failed"

    def watch_phase(self, phase: Phase) -> None:
        """Show what a phase has to show."""
        self.set_class(phase == "before", "-before")
        self.going.display = phase in ("running", "stopped", "done")
        self.outcome.display = phase in ("stopped", "failed", "done")
        for id, label in zip(("forth", "back"), _LABELS[phase], strict=True):
            button = self.query_one(f"#fetch-{id}", Button)
            button.label = label
            button.refresh(layout=True)
            button.display = bool(label)
        self.query_one("#fetch-forth", Button).focus()

    # -- what the person does --------------------------------------------------------------------

    def action_forth(self) -> None:
        """Begin, go on, or leave with the model."""
        if self.phase == "done":
            self.dismiss(self._fetch.model if self._fetch is not None else None)
        elif self.phase == "running":
            self.action_hide()
        else:
            self.workers.cancel_group(self, "fetch-plan")
            self.show_fetch(self._fetches.begin(self._decided))

    def action_back(self) -> None:
        """Stop what runs; leave where nothing does."""
        if self.phase == "running" and self._fetch is not None:
            self._fetches.stop(self._fetch)
        elif self.phase == "done":
            self.action_forth()
        else:
            self.dismiss(None)

    def action_hide(self) -> None:
        """Let it go on behind the screens."""
        if self.phase == "running":
            self.app.notify(
                "The download goes on; Models (F2) shows it.",
                title=printable(self._wanted.name),
                markup=False,
            )
            self.dismiss(None)

    @on(Button.Pressed, "#fetch-forth")
    def _forth(self, event: Button.Pressed) -> None:
        event.stop()
        self.action_forth()

    @on(Button.Pressed, "#fetch-back")
    def _back(self, event: Button.Pressed) -> None:
        event.stop()
        self.action_back()


def _outcome(fetch: Fetch) -> Content:
    """Return what became of a download, with a mark that needs no colour."""
    mark = ("✓ ", "$text-success") if fetch.state == "done" else ("! ", "$text-warning")
    return Content.assemble(mark, printable(fetch.said or ""))
