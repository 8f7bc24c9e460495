"""One judgement of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "missing"]
"""``missing`` stops localllm from running models; ``warn`` costs speed, memory or comfort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One judgement."""

    level: Level
    topic: str
    text: str
    fix: str | None = None
    """A command to type, or what to do in words."""
