"""How a run measures: how often, how long, and what it waits for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from localllm.core.bench.conditions import STEADY_S
from localllm.core.bench.energy import LEAST_PERIODS, LEAST_WINDOW_S
from localllm.core.bench.setup import Mode

CHAT_PROMPT = (
    "Describe a walk through an old harbour town in the early morning: the light on the water, "
    "the sounds, the people who are already at work."
)
"""Asks for a long answer, so that few models end it early."""

_MARGIN = 1.1
"""A window is planned so much longer than it must be: one repetition foretells the others roughly.
"""

COOL_DOWN_S = 10.0
"""Before each test of a steady run."""

Pass = tuple[Literal["forward", "backward"], int]
"""The order in which the configurations are gone through, and windows of each test in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of one run. The defaults are llama-bench's method."""

    mode: Mode = "standard"
    repetitions: int = 5
    """Of each test; in a steady run windows, each of as many repetitions as fill it."""
    delay_s: float = 0.0
    """Before each test."""
    chat_tokens: int = 64
    """Of each sampled answer."""
    chat_answers: int = 3
    """0: none."""
    window_s: float = LEAST_WINDOW_S
    """Of a steady run: the shortest window, whatever the sensor."""
    warm_s: float = STEADY_S
    """A steady run works so long before its first test where no temperature is told."""
    warm_most_s: float = 180.0
    """It waits no longer for a temperature to settle."""

    @property
    def passes(self) -> tuple[Pass, ...]:
        """A B B A in a steady run, so that what drifts harms no configuration more than another."""
        if self.mode != "steady":
            return (("forward", self.repetitions),)
        second = self.repetitions // 2
        return (("forward", self.repetitions - second), ("backward", second))

    def per_window(self, repetition_s: float, period_s: float) -> int:
        """Return how many repetitions fill a window of a steady run."""
        shortest_s = max(self.window_s, LEAST_PERIODS * period_s)
        return max(1, math.ceil(_MARGIN * shortest_s / max(repetition_s, 1e-6)))


def rules_of(mode: Mode, *, repetitions: int | None, delay_s: float | None, chat: bool) -> Rules:
    """Return the rules of a kind of run; None takes its own number.

    A steady run never has fewer than five windows.
    """
    usual = {"standard": 5, "quick": 2, "steady": 5}[mode]
    wanted = repetitions or usual
    return Rules(
        mode=mode,
        repetitions=max(wanted, usual) if mode == "steady" else wanted,
        delay_s=(COOL_DOWN_S if mode == "steady" else 0.0) if delay_s is None else delay_s,
        chat_tokens=32 if mode == "quick" else 64,
        chat_answers=0 if not chat else 1 if mode == "quick" else min(3, wanted),
    )
