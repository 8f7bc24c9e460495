"""Drawing with characters: bars of several parts, and sums of memory that add up as printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from localllm.core.plan import DeviceMemory
from localllm.units import MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One kind of memory: its heading, its look, and its look where there is no Unicode."""

    name: str
    glyph: str
    ascii: str
    style: str

    def shown(self, *, unicode: bool) -> str:
        """The character that stands for it."""
        return self.glyph if unicode else self.ascii


IN_USE = Part(name="in use", glyph="╱", ascii="/", style="dim")
MODEL = Part(name="model", glyph="█", ascii="#", style="blue")
CONTEXT = Part(name="context", glyph="▓", ascii="=", style="cyan")
COMPUTE = Part(name="compute", glyph="▒", ascii="+", style="magenta")
OVERHEAD = Part(name="overhead", glyph="░", ascii="~", style="yellow")
SHARED = Part(name="for GPU", glyph="▚", ascii="g", style="blue")
"""What GPUs without memory of their own take of the RAM."""
HEADROOM = Part(name="headroom", glyph="┈", ascii="-", style="green")
SPARE = Part(name="spare", glyph="·", ascii=".", style="dim")


def bar(sizes: Sequence[tuple[Part, int]], *, total: int, width: int, unicode: bool = True) -> Text:
    """Return ``width`` characters shared among the parts of ``total``.

    Borders are rounded, so the parts always fill the bar; a part above zero shows at least one
    character where there is room. Sizes beyond the total are cut off.
    """
    text = Text()
    running, column = 0, 0
    for part, size in sizes:
        running += max(size, 0)
        end = round(width * running / total) if total > 0 else 0
        end = min(max(end, column + (size > 0)), width)
        text.append(part.shown(unicode=unicode) * (end - column), style=part.style)
        column = end
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySum:
    """One device in whole MiB, so that ``free = needed terms + headroom + spare`` as printed.

    Needs are rounded up and free memory down: what is printed is never rosier than what is.
    """

    model: int
    context: int
    compute: int
    overhead: int
    shared: int
    headroom: int
    free: int | None

    @classmethod
    def of(cls, row: DeviceMemory) -> MemorySum:
        """Round one row of a plan."""
        return cls(
            model=_up(row.model_bytes),
            context=_up(row.context_bytes),
            compute=_up(row.compute_bytes),
            overhead=_up(row.overhead_bytes),
            shared=_up(row.shared_bytes),
            headroom=_up(row.headroom_bytes),
            free=None if row.free_bytes is None else row.free_bytes // MiB,
        )

    @property
    def spare(self) -> int | None:
        """What is left; negative when something is missing."""
        if self.free is None:
            return None
        needed = self.model + self.context + self.compute + self.overhead
        return self.free - needed - self.shared - self.headroom


def _up(n_bytes: int) -> int:
    return -(-n_bytes // MiB)
