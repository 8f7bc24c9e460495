"""Home: this machine, the models that are here and those that could be, to choose from."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual import events, on, work
from textual.binding import Binding, BindingType
from textual.widgets import Input

from localllm import lookups
from localllm.core.kept import KeptModel
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.tui.fetching.dialog import FetchDialog
from localllm.tui.help.texts import PLACE_TEXTS
from localllm.tui.home.cells import (
    DOES_NOT_FIT,
    FETCHING,
    FITS,
    HERE,
    INCOMPLETE,
    NO_PLAN,
    NOT_YET,
    TO_FETCH,
)
from localllm.tui.home.checking import VerifyDialog
from localllm.tui.home.model_list import ModelList
from localllm.tui.home.overview import Overview
from localllm.tui.home.removing import RemoveDialog
from localllm.tui.home.rows import SORTS, Row
from localllm.tui.home.seeking import Sought, offer_words, sought
from localllm.tui.home.weigher import verdict_of
from localllm.tui.messages import ModelChosen, ModelsChanged, Place
from localllm.tui.subject import Subject
from localllm.tui.threads import called


class HomeScreen(Overview):
    """Where one sees what is here and what this machine could run, and chooses."""

    CSS_PATH = "screen.tcss"
    HELP_TEXT = f"""{PLACE_TEXTS["home"]}

`{HERE}` here, `{TO_FETCH}` to fetch, `{FETCHING}` being fetched, `{INCOMPLETE}` only a part is \
here. `{FITS}` fits, `{DOES_NOT_FIT}` does not, `{NOT_YET}` is being planned, `{NO_PLAN}` cannot \
be planned.

Type words of a name in any order; `fits` and `here` are such words, too. A name of the Hub \
(`user/repo:Q4_K_M`), a path or an address is looked up when you press enter."""
    AUTO_FOCUS = ""
    """The list takes the focus when there is one."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "escape",
            "leave_search",
            "Show all",
            show=False,
            id="models.leave",
            tooltip="Leave a look-up, or show all models again",
        ),
        # also where there is no list that has the focus
        Binding(
            "r",
            "look_again",
            "Look again",
            show=False,
            id="models.look_again",
            tooltip="Look at this machine and at the models that are here anew",
        ),
        Binding("slash", "filter", "Filter", show=False, key_display="/", id="models.filter"),
    ]

    def __init__(self) -> None:
        """Begin with nothing typed."""
        super().__init__()
        self._judged = ""
        """The text of which it is known what could be done with it."""
        self._entered: str | None = None
        """The text behind which Enter was pressed, and that is not judged yet."""

    # -- the model under the cursor --------------------------------------------------------------

    @property
    def row(self) -> Row | None:
        """The model under the cursor."""
        entry = self.list.entry
        return entry.row if entry is not None else None

    def go_on_with(self, row: Row, place: Place) -> None:
        """Choose a model, and go on with it elsewhere."""
        wishes = self.models.wishes(row, self.subject.wishes)
        changed = None if wishes == self.subject.wishes else wishes
        self.post_message(ModelChosen(row.name, place=place, wishes=changed))

    @on(ModelList.Chosen)
    def _chosen(self, event: ModelList.Chosen) -> None:
        row = event.entry.row
        if not self._is_judged:  # the entry is of what was typed before
            self._entered = self.typed.value.strip()
        elif event.entry.kind == "offer":
            self._look_up(self.typed.value.strip(), event.entry.key)
        elif row is not None and row.kind == "fetch":
            self.action_fetch()
        elif row is not None:
            self.go_on_with(row, "plan")

    def action_chat(self) -> None:
        """Talk with the model."""
        if self.row is not None:
            self.go_on_with(self.row, "chat")

    def action_bench(self) -> None:
        """Measure the model."""
        if self.row is not None:
            self.go_on_with(self.row, "bench")

    # -- looking up and fetching -----------------------------------------------------------------

    @work(group="home-seek", exclusive=True)
    async def _look_up(self, name: str, key: str) -> None:
        """Look up what was typed; it becomes a row of its own."""
        subject = replace(self.subject, name=name)
        found = await self._sought(subject, key, to_run=False)
        if found is None:
            return
        try:
            planned = await called(lambda: self.desk.plan(subject, decided=found.decided))
        except LocalLLMError as error:
            self.models.problems[key] = error
            self.tell()
            return
        verdict = verdict_of(found.decided, planned.plan)
        row = self.models.put_found(name, found.decided, self.subject, verdict)
        self.offer = None
        self.show()
        self.list.go_to(row.key)
        self.list.focus()

    @work(group="home-seek", exclusive=True)
    async def _fetch(self, row: Row) -> None:
        decided = self.models.decided(row)
        if decided is None or decided.fetch is None:
            wishes = self.models.wishes(row, self.subject.wishes)
            subject = replace(self.subject, name=row.name, wishes=wishes)
            found = await self._sought(subject, row.key, to_run=True)
            if found is None:
                return
            decided = found.decided
        if decided.fetch is None:
            self._say(f"{decided.name or row.name} is here.")
            return
        self.models.put_decided(row, decided.fetch)
        model = await self.app.push_screen_wait(FetchDialog(decided))
        if model is not None:
            self.list.go_to(f"kept:{decided.fetch.name}")

    async def _sought(self, subject: Subject, key: str, *, to_run: bool) -> Sought | None:
        """What a name means; None where it is nothing: then the entry says why."""

        def tell(text: str) -> None:
            self.models.doings[key] = text
            self.tell()

        self.models.problems.pop(key, None)
        tell("looking")
        try:
            found = await sought(self.desk, subject, to_run=to_run, tell=tell)
        except LocalLLMError as error:
            self.models.problems[key] = error
            return None
        finally:
            self.models.doings.pop(key, None)
            self.tell()
        for note in found.notes:
            self._say(note)
        return found

    def action_fetch(self) -> None:
        """Download the model, or look at its download."""
        row = self.row
        if row is None:
            return
        if row.is_here:
            self._say(f"{row.name} is here.")
        else:
            self._fetch(row)

    def action_leave_search(self) -> None:
        """Wait for the Hub no longer; where nothing is waited for, show all models again."""
        if not self.workers.cancel_group(self, "home-seek"):
            self.action_clear_filter()

    # -- what is here ----------------------------------------------------------------------------

    def action_remove(self) -> None:
        """Delete the model's files, after a question."""
        kept = self._kept("deleted")
        if kept is not None:
            self.app.push_screen(RemoveDialog(kept), self._changed)

    def action_verify(self) -> None:
        """Check the model's files."""
        kept = self._kept("verified")
        if kept is not None:
            self.app.push_screen(VerifyDialog(kept), self._changed)

    def _kept(self, what: str) -> KeptModel | None:
        """The files of the model under the cursor; where it has none, that is said."""
        row = self.row
        if row is None:
            return None
        if row.kept is None:
            why = "comes with localllm" if row.kind == "demo" else "is not here"
            self._say(f"{row.name} {why}: there is nothing to be {what}.")
        return row.kept

    def _changed(self, has_changed: bool | None) -> None:
        if has_changed:
            self.post_message(ModelsChanged())

    def _say(self, text: str) -> None:
        self.notify(printable(text), markup=False)

    # -- the filter ------------------------------------------------------------------------------

    @on(Input.Changed, "#filter")
    def _typed(self) -> None:
        self.offer = None
        if self._entered != self.typed.value.strip():  # it may be heard of only after Enter
            self._entered = None
        self.show(stay=False, waits=True)
        self._judge()

    @work(group="home-judge", exclusive=True)
    async def _judge(self) -> None:
        """Offer to look up what was typed, where it reads like a name; then do as Enter said."""
        name = self.typed.value.strip()
        if name:
            kind = await called(lambda: lookups.name_kind(name))
            rows = self.models.entries(self.subject, name, self.order)
            self.offer = offer_words(name, kind, has_matches=bool(rows))
            self.show(stay=bool(rows))
        self._judged = name
        if self._entered == name:
            self._entered = None
            self.list.action_choose()

    @on(Input.Submitted, "#filter")
    def _submitted(self) -> None:
        if self._is_judged:
            self.list.action_choose()
        else:
            self._entered = self.typed.value.strip()

    @property
    def _is_judged(self) -> bool:
        """Whether the list is of what is typed: keys may come quicker than that."""
        return self._judged == self.typed.value.strip()

    def on_key(self, event: events.Key) -> None:
        """Take what is typed while nothing has the focus yet, or any more."""
        is_free = self.focused is None and event.key not in self.active_bindings
        if is_free and event.is_printable and event.character is not None:
            event.stop()
            event.prevent_default()
            self.typed.take(event.character)

    @on(ModelList.Typed)
    def _type(self, event: ModelList.Typed) -> None:
        self.typed.take(event.character)

    def action_filter(self) -> None:
        """Go to where one types."""
        self.set_focus(self.typed)

    def action_to_list(self) -> None:
        """Go to the list."""
        if self.panel.look == "ready":
            self.list.focus()

    def action_clear_filter(self) -> None:
        """Show all models again."""
        self.typed.value = ""
        self.action_to_list()

    @on(ModelList.HeadClicked)
    def action_sort(self) -> None:
        """Order by the next thing."""
        self.order = SORTS[(SORTS.index(self.order) + 1) % len(SORTS)]
        self.show()

    def action_look_again(self) -> None:
        """Look at the machine and at what is here anew."""
        self.models.forget_verdicts()
        self.look_at_machine(again=True)
        self.look()
