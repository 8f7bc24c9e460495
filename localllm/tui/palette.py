"""The command palette: everything that makes sense now, each as ``area: verb``."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from textual.binding import Binding
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from localllm import lookups
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.tui.masthead import PLACES
from localllm.tui.messages import ModelChosen, Place, SubjectChanged
from localllm.tui.threads import called

if TYPE_CHECKING:
    from textual.dom import DOMNode

    from localllm.tui.app import LocalLLMApp

_SLICE = "-mig-"
"""In the names of machines that are only listed for who asks for them."""

_AT_ONCE = 50
"""Entries that are compared before the screen gets its turn."""

_VERBS: tuple[tuple[str, Place, str], ...] = (
    ("plan", "plan", "See where its layers would go"),
    ("chat", "chat", "Load it and talk"),
    ("bench", "bench", "Measure it"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the palette."""

    name: str
    help: str
    run: Callable[[], Any]
    found_only: bool = False
    """Whether it is only listed once something was typed."""


@dataclass(frozen=True, slots=True)
class Match:
    """How well a name matches, 0 to 1, and where."""

    score: float
    spans: tuple[tuple[int, int], ...]


def match(words: Sequence[str], name: str) -> Match | None:
    """Return how a name holds every word, in any order; None where it lacks one.

    Dashes, dots and case do not matter: ``llama3 8b`` finds ``llama-3-8b``. Linear in the name,
    which Textual's own matcher is not: it tries all ways to spread letters over it.
    """
    text, places = plain(name)
    spans, weight = [], 0.0
    for word in words:
        at = text.find(word)
        if at < 0:
            return None
        start, end = places[at], places[at + len(word) - 1] + 1
        begins = start == 0 or not name[start - 1].isalnum()
        weight += len(word) * (1.0 if begins else 0.6)
        spans.append((start, end))
    return Match(score=min(weight / max(len(text), 1), 1.0), spans=tuple(spans))


def plain(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the letters and digits of a text in lower case, and where each of them stands."""
    kept = [(place, char.lower()) for place, char in enumerate(text) if char.isalnum()]
    return "".join(char[:1] for _, char in kept), tuple(place for place, _ in kept)


def _is_ours(binding: Binding) -> bool:
    """Whether it does something to be listed: Textual's own cursor keys have no id."""
    return bool(binding.id and binding.tooltip and binding.description) and not binding.system


async def fetch(app: LocalLLMApp, name: str) -> None:
    """Look a model up, and ask whether it is to be fetched. In a worker: it waits for the person.

    What it needs that is not here is what the subject's wishes and machine choose.
    """
    from localllm.tui.fetching.dialog import FetchDialog

    subject = replace(app.subject, name=name)
    try:
        decided = await called(lambda: app.desk.seek(subject, to_run=True))
    except LocalLLMError as error:
        said = "\n".join(filter(None, (error.message, error.hint)))
        app.notify(printable(said), severity="error", markup=False)
        return
    if decided.fetch is None:
        app.notify(f"{printable(name)} is here.", markup=False)
    else:
        await app.push_screen_wait(FetchDialog(decided))


class Commands(Provider):
    """Actions of the place, places, models, machines, themes."""

    async def startup(self) -> None:
        """Begin to look for the models; whoever types first waits for them."""
        self._models = asyncio.create_task(called(self._model_names))

    async def shutdown(self) -> None:
        """Let go of a look that is still under way."""
        self._models.cancel()

    async def discover(self) -> Hits:
        """Yield what there is before anything was typed: the model's and machines' names later."""
        for entry in self._entries():
            if not entry.found_only:
                yield DiscoveryHit(entry.name, entry.run, help=entry.help)

    async def search(self, query: str) -> Hits:
        """Yield what matches, the models that are here and known among them."""
        words = tuple(filter(None, (plain(word)[0] for word in query.split())))
        n = 0
        async for entry in self._every_entry():
            n += 1
            if n % _AT_ONCE == 0:
                await asyncio.sleep(0)
            if _SLICE in entry.name and not any("mig" in word for word in words):
                continue
            found = match(words, entry.name)
            if found is not None:
                shown = Content(entry.name)
                for start, end in found.spans:
                    shown = shown.stylize(self.match_style or "reverse", start, end)
                yield Hit(found.score, shown, entry.run, text=entry.name, help=entry.help)

    async def _every_entry(self) -> AsyncIterator[Entry]:
        for entry in self._entries():
            yield entry
        for name, is_here in await self._models:
            for entry in self._of_model(name, is_here=is_here):
                yield entry

    # -- what there is ---------------------------------------------------------------------------

    @property
    def _app(self) -> LocalLLMApp:
        return cast("LocalLLMApp", self.app)

    def _entries(self) -> Iterator[Entry]:
        yield from self._actions()
        for place, (key, name) in PLACES.items():
            if place != self._app.current_mode:
                run = partial(self._app.action_go, place)
                yield Entry(f"go: {name}", f"Open {name} ({key})", run)
        yield from self._machines()
        yield from self._of_app()

    def _actions(self) -> Iterator[Entry]:
        """What the keys of the place do now, those of what has the focus first.

        What a part of the screen does only with the focus is left out.
        """
        seen: set[tuple[str, str]] = set()
        for node, binding in (*self._active(), *self._unfocused()):
            area = (binding.id or self._app.current_mode).partition(".")[0].replace("_", " ")
            if (area, binding.description) not in seen:
                seen.add((area, binding.description))
                run = partial(self.app.run_action, binding.action, node)
                yield Entry(f"{area}: {binding.description}", self._with_key(binding), run)

    def _active(self) -> Iterator[tuple[DOMNode, Binding]]:
        for node, binding, enabled, _ in self.screen.active_bindings.values():
            if enabled and node is not self.app and _is_ours(binding):
                yield node, binding

    def _unfocused(self) -> Iterator[tuple[DOMNode, Binding]]:
        """What the screen does by keys that a part of it takes: ``screen.remove``."""
        kinds = Counter(type(widget) for widget in self.screen.query("*"))
        for widget in self.screen.query("*"):
            if kinds[type(widget)] > 1 or widget.has_focus or not widget.focusable:
                continue
            for binding in type(widget).BINDINGS:
                if not (isinstance(binding, Binding) and _is_ours(binding)):
                    continue
                place, _, action = binding.action.partition(".")
                if place == "screen" and self.screen.check_action(action, ()):
                    yield widget, binding

    def _with_key(self, binding: Binding) -> str:
        return f"{binding.tooltip} ({self.app.get_key_display(binding)})"

    def _machines(self) -> Iterator[Entry]:
        subject = self._app.subject
        if subject.machines:
            here = partial(self._post, SubjectChanged(replace(subject, machines=())))
            yield Entry("machine: this one", "Plan for this machine again", here)
        for name in lookups.hardware_names():
            if subject.machines != (name,):
                there = SubjectChanged(replace(subject, machines=(name,)))
                text = "Plan as if it were here (SIMULATED)"
                yield Entry(f"machine: try {name}", text, partial(self._post, there), True)

    def _of_model(self, name: str, *, is_here: bool) -> Iterator[Entry]:
        shown = printable(name)
        for verb, place, text in _VERBS:
            run = partial(self._post, ModelChosen(name, place=place))
            more = "" if is_here or verb == "plan" else "; it is fetched first, if you say so"
            yield Entry(f"model: {verb} {shown}", text + more, run, True)
        if not is_here:
            run = partial(self._fetch, name)
            yield Entry(f"model: fetch {shown}", "Download it; you are asked first", run, True)

    def _of_app(self) -> Iterator[Entry]:
        app = self._app
        yield Entry("app: help", "What this place is for, and its keys (F1)", app.action_help)
        yield Entry("app: theme", f"Choose colours; now {app.theme}", app.action_change_theme)
        for theme in sorted(app.available_themes):
            if theme != app.theme:
                run = partial(setattr, app, "theme", theme)
                yield Entry(f"theme: {theme}", "Use these colours from now on", run, True)
        yield Entry("app: screenshot", "Save this screen as an SVG picture", self._screenshot)
        yield Entry("app: quit", "Leave (ctrl+q)", app.action_quit)

    def _model_names(self) -> list[tuple[str, bool]]:
        """Return the models by name, and whether they are here: those first. Blocks."""
        here = [model.name for model in self._app.desk.here().models if model.is_complete]
        try:
            known = lookups.model_names()
        except LocalLLMError:  # a person's own names that cannot be read: where they matter says so
            known = tuple(each.name for each in self._app.desk.known())
        return [("demo", True), *((n, True) for n in here), *((n, False) for n in known)]

    # -- what is done ----------------------------------------------------------------------------

    def _post(self, message: ModelChosen | SubjectChanged) -> None:
        self.app.post_message(message)

    def _fetch(self, name: str) -> None:
        self._app.run_worker(fetch(self._app, name), group="palette-fetch", exclusive=True)

    def _screenshot(self) -> None:
        self.app.set_timer(0.1, self.app.deliver_screenshot)  # once the palette has closed
