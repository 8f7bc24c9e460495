"""The app: its places, its keys, and what is looked at. What a place does is in its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import on, work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.reactive import var
from textual.screen import SystemModalScreen

from localllm.tui.appearance import Appearance
from localllm.tui.desk import Desk
from localllm.tui.fetching.fetches import Fetches
from localllm.tui.masthead import PLACES
from localllm.tui.messages import (
    ActivityChanged,
    ModelChosen,
    ModelsChanged,
    Place,
    PlaceChosen,
    PlanMade,
    SubjectChanged,
)
from localllm.tui.plain import PlainCharacters, plainer_key
from localllm.tui.small import TooSmall, fits
from localllm.tui.subject import Planned, Subject
from localllm.tui.threads import called

if TYPE_CHECKING:
    from textual.command import Provider
    from textual.events import Resize
    from textual.geometry import Size
    from textual.screen import Screen

    from localllm.tui.place import PlaceScreen


def _home() -> PlaceScreen:
    from localllm.tui.home.screen import HomeScreen

    return HomeScreen()


def _plan() -> PlaceScreen:
    from localllm.tui.plan.screen import PlanScreen

    return PlanScreen()


def _chat() -> PlaceScreen:
    from localllm.tui.chat.screen import ChatScreen

    return ChatScreen()


def _bench() -> PlaceScreen:
    from localllm.tui.bench.screen import BenchScreen

    return BenchScreen()


def _hardware() -> PlaceScreen:
    from localllm.tui.hardware.screen import HardwareScreen

    return HardwareScreen()


_PLACE_TIPS: Mapping[Place, str] = {
    "home": "The models that are here, and those known by name",
    "plan": "Where the layers go, how fast that is, what would help",
    "chat": "Talk with the model",
    "bench": "Measure it, and compare",
    "hardware": "What was found here, and why something is missing",
}


def _commands() -> type[Provider]:
    from localllm.tui.palette import Commands

    return Commands


class LocalLLMApp(App[int]):
    """The terminal UI. Its return code is the process's."""

    TITLE: str | None = "localllm"
    CSS_PATH = "app.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012  (not a ClassVar in Textual)
    # Each place is imported when somebody goes there.
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "home": _home,
        "plan": _plan,
        "chat": _chat,
        "bench": _bench,
        "hardware": _hardware,
    }
    COMMANDS = {_commands}  # noqa: RUF012  (not a ClassVar in Textual)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "f1",
            "help",
            "Help",
            tooltip="What this place is for, and its keys",
            id="app.help",
            priority=True,  # in dialogs, too
        ),
        Binding("question_mark", "help", "Help", show=False, id="app.help2"),
        Binding(
            "ctrl+z",
            "suspend_process",
            "Suspend",
            show=False,
            id="app.suspend",
            tooltip="Back to the shell for a while: fg brings all of this back",
        ),
        *(
            Binding(
                key.lower(),
                f"go('{place}')",
                name,
                show=False,
                priority=True,
                id=f"app.{place}",
                tooltip=_PLACE_TIPS[place],
            )
            for place, (key, name) in PLACES.items()
        ),
    ]

    subject: var[Subject] = var(Subject)
    planned: var[Planned | None] = var(None)
    activities: var[Mapping[Place, str]] = var[Mapping[Place, str]]({})
    """What goes on in a place, in a few cells: the mastheads of the others show it."""

    def __init__(
        self,
        *,
        desk: Desk,
        subject: Subject | None = None,
        place: Place = "home",
        appearance: Appearance | None = None,
    ) -> None:
        """Take the way to the machine, and where to begin."""
        super().__init__()
        self._appearance = appearance or Appearance()
        if self._appearance.theme in self.available_themes:
            self.theme = self._appearance.theme
        if self._appearance.charset != "all":  # Textual has no other way in
            self._filters.append(PlainCharacters(self._appearance.charset))
        self.desk = desk
        self.fetches = Fetches(self)
        self.set_reactive(LocalLLMApp.subject, subject or Subject())
        self._first_place: Place = place

    def on_mount(self) -> None:
        """Open the first place."""
        self.switch_mode(self._first_place)
        self.mode_change_signal.subscribe(self, lambda _: self._look_for_room(self.size))
        # After fg Textual draws what changes from then on, over what the shell has left there.
        self.app_resume_signal.subscribe(self, lambda _: self.screen.refresh(layout=True))
        self.watch(self, "theme", self._theme_chosen, init=False)

    def get_key_display(self, binding: Binding) -> str:
        """Return a key's name in characters that the terminal has."""
        return plainer_key(super().get_key_display(binding), self._appearance.charset)

    def get_css_variables(self) -> dict[str, str]:
        """Return the theme's variables, with muted text that is muted in every place.

        Textual's own is ``auto 60%``, which it takes for the loudest colour where it is the style
        of a piece of a line.
        """
        variables = super().get_css_variables()
        if not self.current_theme.ansi:
            for name in ("muted", "disabled"):
                variables[f"text-{name}"] = variables[f"foreground-{name}"]
            self.theme_variables = variables
        return variables

    def _theme_chosen(self, theme: str) -> None:
        if self._appearance.keep_theme is not None:
            self._remember(theme, self._appearance.keep_theme)

    @work(group="theme", exclusive=True)
    async def _remember(self, theme: str, keep: Callable[[str], None]) -> None:
        try:
            await called(lambda: keep(theme))
        except OSError as error:
            why = error.strerror or str(error)
            self.notify(f"The theme is not remembered: {why}.", severity="warning", markup=False)

    # -- room ------------------------------------------------------------------------------------

    def on_resize(self, event: Resize) -> None:
        """Say so where there is no room; ``size`` follows only afterwards."""
        self._look_for_room(event.size)

    def _look_for_room(self, size: Size) -> None:
        if not fits(size) and not isinstance(self.screen, TooSmall):
            self.push_screen(TooSmall())

    # -- where one is ----------------------------------------------------------------------------

    def action_go(self, place: Place) -> None:
        """Go to a place; a dialog that is open stays with the place it belongs to."""
        if self.current_mode != place:
            self.switch_mode(place)

    @on(PlaceChosen)
    def _place_chosen(self, event: PlaceChosen) -> None:
        self.action_go(event.place)

    @on(ActivityChanged)
    def _activity_changed(self, event: ActivityChanged) -> None:
        others = {place: text for place, text in self.activities.items() if place != event.place}
        self.activities = others if event.text is None else {**others, event.place: event.text}

    def action_help(self) -> None:
        """Show what the place is for, the keys that work now, and the words; or hide that."""
        from localllm.tui.help.keys import key_groups
        from localllm.tui.help.screen import HelpScreen
        from localllm.tui.help.texts import PLACE_TEXTS

        if isinstance(self.screen, HelpScreen):
            self.screen.dismiss()
            return
        if isinstance(self.screen, SystemModalScreen | TooSmall):  # the palette says it itself
            return
        place = cast("Place", self.current_mode)
        said = "" if self.screen.is_modal else PLACE_TEXTS[place]  # a dialog has its own words
        text = getattr(self.screen, "HELP_TEXT", "") or said
        groups = key_groups(self.screen.active_bindings.values(), shown_as=self.get_key_display)
        self.push_screen(HelpScreen(PLACES[place][1], text, groups))

    # -- what is looked at -----------------------------------------------------------------------

    @on(SubjectChanged)
    def _subject_changed(self, event: SubjectChanged) -> None:
        self.subject = event.subject
        if event.place is not None:
            self.action_go(event.place)

    @on(ModelChosen)
    def _model_chosen(self, event: ModelChosen) -> None:
        wishes = self.subject.wishes if event.wishes is None else event.wishes
        self.subject = replace(self.subject, name=event.name, wishes=wishes)
        self.action_go(event.place)

    @on(PlanMade)
    def _plan_made(self, event: PlanMade) -> None:
        if event.planned is None or event.planned.subject == self.subject:
            self.planned = event.planned

    @on(ModelsChanged)
    def _models_changed(self, event: ModelsChanged) -> None:
        if event.is_passed_on:
            return
        for mode in self.MODES:
            with suppress(KeyError):  # nobody has been there yet
                for screen in self.get_screen_stack(mode):
                    if screen is not self.screen:
                        screen.post_message(ModelsChanged(is_passed_on=True))
