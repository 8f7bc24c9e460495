"""What stands for a device wherever it is drawn: a glyph that reads without colour, and a hue.

A hue is a device, in the strip of layers, the bars and the gauges alike; what kind of memory
something is shows in its texture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from localllm.core.plan import Plan

_HUES = (
    "$primary",
    "$success",
    "$secondary",
    "$success-darken-3",
    "$primary-lighten-3",
    "$accent",
)
_RAM = "$warning"
MUTED = "$foreground-muted"
"""Quiet text. (``$text-muted`` follows the background, and is loud where there is none.)"""
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_NUMBER = re.compile(r"\d+$")


@dataclass(frozen=True, slots=True)
class Mark:
    """A device's glyph, one cell wide, and its colour: a theme variable."""

    glyph: str
    colour: str
    in_ram: bool
    shades: bool = True
    """Whether the terminal shows a colour in several strengths: its own sixteen have one each."""

    @property
    def style(self) -> str:
        """The glyph's own style: a haze for RAM, on solid ground for a GPU."""
        if not self.in_ram:
            return f"$text on {self.colour}"
        return f"{self.colour} on {self.edge}" if self.shades else self.colour

    @property
    def edge(self) -> str:
        """The colour of that ground; nothing where there is none."""
        if not self.in_ram:
            return self.colour
        return f"{self.colour} 30%" if self.shades else ""


def marks(plan: Plan, *, shades: bool = True) -> dict[str, Mark]:
    """Return the mark of every row of a plan, by name: GPUs by their number, RAM as a haze."""
    gpus = [row.name for row in plan.devices if row.kind == "gpu"]
    numbers = [int(found[0]) if (found := _NUMBER.search(name)) else -1 for name in gpus]
    if len(set(numbers)) < len(gpus) or not all(0 <= n < len(_DIGITS) for n in numbers):
        numbers = [index % len(_DIGITS) for index in range(len(gpus))]
    found_marks = {
        name: Mark(_DIGITS[number], _HUES[index % len(_HUES)], False, shades)
        for index, (name, number) in enumerate(zip(gpus, numbers, strict=True))
    }
    return found_marks | {plan.host.name: Mark("░", _RAM, True, shades)}
