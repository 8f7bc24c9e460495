"""One answer from its request to its end, whatever that end is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from localllm.core.generation import (
    Died,
    Event,
    Failed,
    Finished,
    FinishReason,
    RunStats,
    TextDelta,
)

if TYPE_CHECKING:
    from localllm.core.joules import AnswerEnergy

E = TypeVar("E")


@dataclass(slots=True)
class Answer:
    """What came of a request. Exactly one of ``reason`` and ``fault`` is set at the end."""

    pieces: list[str] = field(default_factory=list)
    reasoning_pieces: list[str] = field(default_factory=list)
    reason: FinishReason | None = None
    finished: Finished | None = None
    energy: AnswerEnergy | None = None
    """What it took, where meters were read."""
    stop_string: str | None = None
    fault: Failed | Died | None = None
    thought_s: float | None = None
    """Seconds from the first reasoning text to the last."""
    _thinking_s: float | None = None
    """When the first reasoning text came."""

    def take(self, event: Event) -> None:
        """Collect what an event brings."""
        if isinstance(event, TextDelta):
            if event.channel == "answer":
                self.pieces.append(event.text)
            else:
                now_s = time.monotonic()
                self._thinking_s = now_s if self._thinking_s is None else self._thinking_s
                self.thought_s = now_s - self._thinking_s
                self.reasoning_pieces.append(event.text)
        elif isinstance(event, Finished):
            self.reason, self.finished = event.reason, event
            self.stop_string = event.stop_string
        elif isinstance(event, Failed | Died):
            self.fault, self.reason = event, None

    @property
    def stats(self) -> RunStats | None:
        """What was measured inside the engine; None of an answer that it did not end itself."""
        return None if self.finished is None else self.finished.stats

    @property
    def content(self) -> str:
        """The answer, without its reasoning."""
        return "".join(self.pieces)

    @property
    def reasoning(self) -> str | None:
        """The reasoning, or None where there was none."""
        return "".join(self.reasoning_pieces).strip() or None

    @property
    def finish_reason(self) -> str:
        """The reason as a conversation's line keeps it."""
        if self.reason is not None:
            return self.reason
        return "died" if isinstance(self.fault, Died) else "failed"


class Turn:
    """One answer being made. Begin and end it in one thread; ``answer`` may be read from any.

    ``events`` is all that a shell needs; one whose engine works in another thread than it draws in
    takes it apart: ``ask`` there, ``answer.take`` of every event and at last ``end`` here.
    """

    def __init__(
        self,
        start: Callable[[], Iterator[Event]],
        end: Callable[[Answer], None],
        answer: Answer,
        *,
        cancel: Callable[[], None],
        stop: threading.Event | None = None,
    ) -> None:
        """Take what asks, and what becomes of the answer.

        ``cancel`` asks the engine to stop; ``stop``: set, with a ``cancel``, to stop it.
        """
        self.answer = answer
        self._start, self._end, self._cancel = start, end, cancel
        self._stop = stop

    def ask(self) -> Generator[Event]:
        """Ask, and yield what comes up to the terminal event."""
        yield from until_stopped(self._start, self._stop, self._cancel)

    def end(self) -> None:
        """Keep what came; to be called once, also where the asking was given up."""
        self._end(self.answer)

    def events(self) -> Generator[Event]:
        """Ask, collect, yield what comes, and keep it; closing the iterator stops the answer."""
        try:
            with closing(self.ask()) as asking:
                for event in asking:
                    self.answer.take(event)
                    yield event
        finally:
            self.end()


def until_stopped(
    start: Callable[[], Iterator[E]], stop: threading.Event | None, cancel: Callable[[], None]
) -> Iterator[E]:
    """Pass events on; nothing where it is stopped before it began.

    Whoever stops it sets ``stop`` and cancels. The engine forgets a cancellation that comes before
    the request, so it is asked once more for every event after that.
    """
    if stop is not None and stop.is_set():
        return
    for event in start():
        if stop is not None and stop.is_set():
            cancel()
        yield event
