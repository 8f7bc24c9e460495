"""What screens tell the app: somebody wants to go on elsewhere, or with something else."""

from __future__ import annotations

from typing import Literal

from textual.message import Message

from localllm.core.policy import Policy
from localllm.tui.subject import Planned, Subject

Place = Literal["home", "plan", "chat", "bench", "hardware"]
"""The app's modes."""


class PlaceChosen(Message):
    """The person clicked on something that stands for a place."""

    def __init__(self, place: Place) -> None:
        """Take where to go."""
        super().__init__()
        self.place = place


class SubjectChanged(Message):
    """The person chose a model, wishes or a machine; with ``place`` they go on there."""

    def __init__(self, subject: Subject, *, place: Place | None = None) -> None:
        """Take the whole new subject."""
        super().__init__()
        self.subject, self.place = subject, place


class ModelChosen(Message):
    """The person chose a model by its name; wishes and machine stay what they are.

    ``wishes`` replaces them where it is given.
    """

    def __init__(self, name: str, *, place: Place, wishes: Policy | None = None) -> None:
        """Take the name that finds it."""
        super().__init__()
        self.name, self.place, self.wishes = name, place, wishes


class PlanMade(Message):
    """There is a plan of the subject; the masthead shows it, and the chat may begin with it."""

    def __init__(self, planned: Planned | None) -> None:
        """Take what was planned; None where nothing can be."""
        super().__init__()
        self.planned = planned


class ModelsChanged(Message):
    """Files of models have come or gone: whoever lists them looks again."""

    def __init__(self, *, is_passed_on: bool = False) -> None:
        """``is_passed_on``: the app sends it; what a screen has got bubbles up to the app again."""
        super().__init__()
        self.is_passed_on = is_passed_on


class ActivityChanged(Message):
    """Something goes on in a place that one may see elsewhere, in the masthead; or it ended."""

    def __init__(self, place: Place, text: str | None) -> None:
        """Take where it goes on and a few cells about it, ``↓ 42 %``; None: nothing any more.

        Once or twice a second is enough.
        """
        super().__init__()
        self.place, self.text = place, text
