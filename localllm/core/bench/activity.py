"""What a run is doing at a moment, as a value that every shell shows in its own way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from localllm.core.generation import BenchTest


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """One test among all of a run."""

    number: int
    """From 1."""
    n_tests: int
    test: BenchTest
    settings: str = ""
    """What tells its configuration from the others; empty where it is the only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """A configuration is being planned."""

    model: str
    settings: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """The model is being read."""

    model: str
    fraction: float
    """0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmingUp:
    """Work until the temperature has settled, before a steady run."""

    worked_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CoolingDown:
    """A pause before a test."""

    pause_left_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trying:
    """One repetition that tells how many fill a window of a steady run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeating:
    """A test is being measured."""

    repetition: int
    """Of those that are finished; the warm-up is 0."""
    n_repetitions: int
    tok_s: float | None
    """Mean of the last repetitions, prompt and generated tokens together; None before the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """Sampled answers are being streamed."""

    number: int
    """From 1."""
    n_answers: int
    n_tokens: int
    """Of this answer so far."""


Step = Planning | Loading | WarmingUp | CoolingDown | Trying | Repeating | Answering


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is being done, for which test, and how long the whole run still takes."""

    step: Step
    where: Where | None = None
    left_s: float | None = None
    """None while nobody can say."""


OnProgress = Callable[[Progress], None]
"""Hears of every step, in the thread that measures: it must be quick."""
