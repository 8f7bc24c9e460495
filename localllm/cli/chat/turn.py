"""One answer from its request to its end, whatever that end is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from localllm.cli.chat.pump import Pump
from localllm.core.generation import (
    Died,
    Event,
    Failed,
    Finished,
    FinishReason,
    RunStats,
    TextDelta,
)

if TYPE_CHECKING:  # one answer for a pipe shows no Markdown, which takes 40 ms to import
    from localllm.cli.chat.view import View
    from localllm.core.joules import AnswerEnergy


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


def run(
    pump: Pump, start: Callable[[], Iterator[Event]], view: View, answer: Answer | None = None
) -> Answer:
    """Ask and show until the terminal event. ``answer`` collects also when this is interrupted."""
    answer = answer or Answer()
    thinking_s: float | None = None
    try:
        for event in pump.events(start):
            if event is None:
                view.tick()
                continue
            if isinstance(event, TextDelta):
                if event.channel == "answer":
                    answer.pieces.append(event.text)
                else:
                    now_s = time.monotonic()
                    thinking_s = now_s if thinking_s is None else thinking_s
                    answer.thought_s = now_s - thinking_s
                    answer.reasoning_pieces.append(event.text)
            elif isinstance(event, Finished):
                answer.reason, answer.finished = event.reason, event
                answer.stop_string = event.stop_string
            elif isinstance(event, Failed | Died):
                answer.fault, answer.reason = event, None
            view.show(event)
    finally:
        view.end()
    return answer
