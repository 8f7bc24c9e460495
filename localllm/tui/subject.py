"""What the screens look at together: a model, what the person asked for, and a machine."""

from __future__ import annotations

from dataclasses import dataclass, field

from localllm.choosing import Decided
from localllm.core.plan import Plan
from localllm.core.policy import Policy

ONE_MORE = "one more card"
"""Last among a subject's machines: the one before it has one more of its largest card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Changed as a whole: screens watch the app's ``subject``."""

    name: str | None = None
    """What finds the model: as it was typed, or as a list gave it. None: none was chosen yet."""
    wishes: Policy = field(default_factory=Policy)
    """What the person asked for, and nothing that was chosen for them."""
    machines: tuple[str, ...] = ()
    """Hardware profiles, combined; none is this machine, which ``ONE_MORE`` needs named."""

    @property
    def simulated(self) -> bool:
        """Whether it is about another machine than this one."""
        return bool(self.machines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What became of a subject."""

    subject: Subject
    decided: Decided
    plan: Plan
