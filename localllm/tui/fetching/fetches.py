"""The app's downloads: they go on wherever the person is, and whoever shows one hears of it.

Bytes come in daemon threads. A download that is stopped, or left with the app, keeps its parts; the
same again goes on there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import aclosing, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from textual.signal import Signal

from localllm.core.fetching import FetchNote, FetchProgress, ToFetch
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.fetching import Fetched, FetchEvent
from localllm.session import LocalModel, Session
from localllm.tui.fetching.ways import in_keys
from localllm.tui.messages import ActivityChanged, ModelsChanged
from localllm.tui.threads import streamed
from localllm.words.fetch_account import FetchAccount
from localllm.words.fetching import percent

if TYPE_CHECKING:
    from textual.app import App

    from localllm.choosing import Decided

State = Literal["running", "stopping", "stopped", "failed", "done"]

PACE_S = 0.25
"""A person cannot read faster than four figures a second."""
AGAIN = "fetching it again"
"""What goes on with a download that was stopped."""


class Fetch:
    """One download. It may be stopped, or fail, and begin again: what came is kept."""

    def __init__(self, decided: Decided) -> None:
        """Take what was decided on, and is to come; nothing is asked yet."""
        assert decided.fetch is not None, "what is here is not fetched"
        self.decided, self.wanted = decided, decided.fetch
        self.state: State = "stopped"
        self.account = FetchAccount(self.wanted.name)
        self.notes: list[str] = []
        """What a person should know, each once."""
        self.error: LocalLLMError | None = None
        """Why it failed."""
        self.model: LocalModel | None = None
        """What is here, once it is done."""
        self.said: str | None = None
        """What became of it, in a sentence: its end, or what is kept of it."""
        self.is_watched = False
        """Whether a dialog shows it: then its end is no news."""
        self._stop = threading.Event()

    @property
    def name(self) -> str:
        """What finds the model again."""
        return self.wanted.name

    @property
    def progress(self) -> FetchProgress | None:
        """How far it is, as told last."""
        return self.account.last

    @property
    def is_running(self) -> bool:
        """Whether bytes may still come."""
        return self.state in ("running", "stopping")


class Fetches:
    """Every download of the app's life, by the name of its model."""

    def __init__(self, app: App[Any]) -> None:
        """Take the app whose workers they run in."""
        self._app = app
        self._all: dict[str, Fetch] = {}
        self._bytes_per_s: float | None = None
        """As told last before a download."""
        self.told: Signal[Fetch] = Signal(app, "fetches")
        """Published whenever a download has something new to tell, four times a second at most."""

    def __iter__(self) -> Iterator[Fetch]:
        """Yield them, the one that was begun first first."""
        return iter(tuple(self._all.values()))

    def of(self, name: str) -> Fetch | None:
        """Return the download of a model by the name that finds it, if there was one."""
        return self._all.get(name)

    def timed(self, wanted: ToFetch) -> ToFetch:
        """Return what is to be fetched with the rate that was told last, where it has none.

        A header that is here already, read for an earlier look, tells no rate.
        """
        self._bytes_per_s = wanted.bytes_per_s or self._bytes_per_s
        return replace(wanted, bytes_per_s=self._bytes_per_s)

    def begin(self, decided: Decided) -> Fetch:
        """Start a download, or go on with it; one that runs is left alone."""
        assert decided.fetch is not None, "what is here is not fetched"
        fetch = self._all.get(decided.fetch.name)
        if fetch is None or not fetch.is_running:
            fetch = self._all[decided.fetch.name] = Fetch(decided)
            fetch.state = "running"
            self._app.run_worker(self._run(fetch), group="fetches", exclusive=False)
        return fetch

    def stop(self, fetch: Fetch) -> None:
        """End a download and keep what came. It says so itself, within moments."""
        if fetch.state == "running":
            fetch.state = "stopping"
            fetch._stop.set()
            self._publish(fetch)

    def close(self) -> None:
        """Stop all of them, for an app that ends: nothing is waited for."""
        for fetch in self:
            fetch._stop.set()

    async def _run(self, fetch: Fetch) -> None:
        self._publish(fetch)
        try:
            events = streamed(
                lambda: _timed(fetch.wanted, fetch._stop), pace_s=PACE_S, stop=fetch._stop.set
            )
            async with aclosing(events) as batches:
                async for batch in batches:
                    for at_s, event in batch:
                        _hear(fetch, event, at_s)
                    self._publish(fetch)
        except LocalLLMError as error:
            fetch.state, fetch.error = "failed", error
        else:
            fetch.state = "stopped" if fetch.model is None else "done"
        self._end(fetch)

    def _end(self, fetch: Fetch) -> None:
        """Say what became of it where the person is, and to whoever lists models."""
        if fetch.state == "stopped":
            fetch.said = fetch.account.stopped(AGAIN)
        elif fetch.state == "done":
            fetch.said = fetch.account.ended(time.monotonic())
            self._app.post_message(ModelsChanged())
            # the app passes it on to all screens but this one
            self._app.screen.post_message(ModelsChanged(is_passed_on=True))
        self._publish(fetch)
        if fetch.is_watched:
            return
        if fetch.error is not None:
            hint = f"\n→ {in_keys(fetch.error.hint)}" if fetch.error.hint else ""
            self._tell(f"{fetch.error.message}{hint}", title=f"{fetch.name}: not fetched", bad=True)
        elif fetch.said is not None:
            self._tell(fetch.said, title="Fetched" if fetch.state == "done" else "Stopped")

    def _publish(self, fetch: Fetch) -> None:
        self.told.publish(fetch)
        going = [each for each in self if each.is_running]
        shares = [f"{percent(each.progress)}%" for each in going if each.progress is not None]
        self._app.post_message(
            ActivityChanged("home", f"↓ {' '.join(shares)}".rstrip() if going else None)
        )

    def _tell(self, text: str, *, title: str, bad: bool = False) -> None:
        self._app.notify(
            printable(text),
            title=printable(title),
            severity="error" if bad else "information",
            markup=False,
        )


def _timed(wanted: ToFetch, stop: threading.Event) -> Iterator[tuple[float, FetchEvent]]:
    """Yield a download's events with when they came. Closing what yields them keeps the parts."""
    with Session(basis="formula") as session, closing(session.fetch(wanted)) as events:
        for event in events:
            yield time.monotonic(), event
            if stop.is_set():
                return


def _hear(fetch: Fetch, event: FetchEvent, at_s: float) -> None:
    if isinstance(event, FetchProgress):
        fetch.account.hear(event, at_s)
    elif isinstance(event, FetchNote):
        if event.text not in fetch.notes:
            fetch.notes.append(event.text)
    else:
        assert isinstance(event, Fetched)
        fetch.model = event.model
