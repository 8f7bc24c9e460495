"""One load as it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localllm.core.generation import LoadNote, LoadProgress, PromptProgress
from localllm.tui.chat.situation import Situation, loading
from localllm.words.loads import label, proving_text

if TYPE_CHECKING:
    from localllm.running import RunEvent
    from localllm.session import LocalModel


class Load:
    """What a load has told so far."""

    def __init__(self, model: LocalModel, *, began_s: float) -> None:
        """Take the model; its plan is made first."""
        self.model = model
        self.name = label(model)
        self.fraction = 0.0
        self.notes: list[str] = []
        self._began_s = began_s
        self._said: str | None = "planning"

    def take(self, event: RunEvent) -> None:
        """Hear an event."""
        if isinstance(event, LoadProgress):
            self.fraction, self._said = event.fraction, None
        elif isinstance(event, LoadNote):
            self.notes.append(event.text)
        elif isinstance(event, PromptProgress):
            self._said = proving_text(event)

    def situation(self, now_s: float) -> Situation:
        """Return how far it is."""
        return loading(
            self.model,
            fraction=self.fraction,
            seconds=now_s - self._began_s,
            said=self._said,
            notes=self.notes,
        )
