"""A name that is looked up where it may be far away, with what is done told to the screen."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localllm.finding import Watch
from localllm.tui.threads import called
from localllm.words.fetching import reading_words

if TYPE_CHECKING:
    from localllm.choosing import Decided
    from localllm.lookups import NameKind
    from localllm.tui.desk import Desk
    from localllm.tui.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """What a name was found to mean."""

    decided: Decided
    notes: tuple[str, ...]
    """What a person should know, as sentences."""


async def sought(
    desk: Desk, subject: Subject, *, to_run: bool, tell: Callable[[str], None]
) -> Sought:
    """Look a subject's name up; ``tell`` hears what is done, from the loop's thread.

    Raises what ``Desk.seek`` does. Whoever stops waiting hears nothing more.
    """
    loop = asyncio.get_running_loop()
    notes: list[str] = []
    listens = True

    def say(text: str) -> None:
        if listens:
            tell(text)

    def post(text: str) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed: the app is gone
            loop.call_soon_threadsafe(say, text)

    watch = Watch(
        on_reading=lambda n_bytes, waiting_for: post(reading_words(n_bytes, waiting_for)),
        on_step=post,
        on_wait=post,
        on_note=notes.append,
    )
    try:
        decided = await called(lambda: desk.seek(subject, to_run=to_run, watch=watch))
    finally:
        listens = False
    return Sought(decided=decided, notes=tuple(notes))


def offer_words(name: str, kind: NameKind | None, *, has_matches: bool) -> str | None:
    """Return what Enter would do with a typed name; None where it can be no name.

    A plain word is offered only where nothing in the list is like it.
    """
    match kind:
        case "repository":
            return f"enter: look up {name} on the Hub"
        case "address":
            return f"enter: read the model's header at {name}"
        case "path":
            return f"enter: open {name}"
        case "tool":
            return f"enter: look for {name}"
        case "plain" if not has_matches:
            return f"enter: look for a model called {name}"
    return None
