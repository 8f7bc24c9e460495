"""A knob of a plan: one wish that a person can turn, and what it is turned on.

Which knobs there are is in ``knobs.py``, what turning does in ``wishes.py``. A value of None is
left to the planner, and a plan says what it took then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from localllm.core.plan import Plan
from localllm.core.policy import Policy

Value = int | float | str
"""Tokens, layers, bytes (``int``), a share of a device's memory (``float``), or a name."""

LARGEST = "max"
"""Of a context: a wish of its own, the most that costs no layer its place on a GPU."""
BEST = "auto"
"""Of a cache type: a wish of its own, the best that costs no layer its place on a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A quantisation that the model can be had in."""

    quant: str
    n_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What knobs are turned on: the plan as it is, and what the model can be had in."""

    plan: Plan
    offered: tuple[Offered, ...] = ()
    """The smallest first."""
    is_open: bool = False
    """Whether the quantisation is chosen where nobody fixes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """One wish that can be turned."""

    name: str
    label: str
    about: str
    """What it is, in a sentence."""
    left_open: str
    """What the planner does with it where nobody fixes it."""
    read: Callable[[Policy], Value | None]
    write: Callable[[Policy, Value | None], Policy]
    rungs: Callable[[Scene], Sequence[Value]]
    """The values that it goes through, from the least to the most."""
    taken: Callable[[Plan, Policy], Value]
    """What a plan has of it, whoever decided that."""
    parse: Callable[[str], Value | None]
    """Read what a person writes. Raises ValueError."""
    text: Callable[[Value, Scene], str] = lambda value, scene: f"{value}"
    slides: bool = False
    """Whether its place between the least and the most is worth a bar."""
    applies: Callable[[Scene], bool] = lambda scene: True
