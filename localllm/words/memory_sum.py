"""Memory as rows of figures that add up as printed, and as shares of a bar's cells.

What a bar looks like is each shell's; its parts, their order, glyphs and sizes are the same in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localllm.core.plan import DeviceMemory
from localllm.units import MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One kind of memory: its heading, its look, and its look where there is no Unicode."""

    name: str
    glyph: str
    ascii: str

    def shown(self, *, unicode: bool) -> str:
        """The character that stands for it."""
        return self.glyph if unicode else self.ascii


IN_USE = Part(name="in use", glyph="╱", ascii="/")
MODEL = Part(name="model", glyph="█", ascii="#")
CONTEXT = Part(name="context", glyph="▓", ascii="=")
COMPUTE = Part(name="compute", glyph="▒", ascii="+")
OVERHEAD = Part(name="overhead", glyph="░", ascii="~")
SHARED = Part(name="for GPU", glyph="▚", ascii="g")
"""What GPUs without memory of their own take of the RAM."""
HEADROOM = Part(name="headroom", glyph="┈", ascii="-")
SPARE = Part(name="spare", glyph="·", ascii=".")


def parts_of(row: DeviceMemory) -> list[tuple[Part, int]]:
    """Return the bytes of every part of a device's total, in the order in which they are drawn.

    Nothing of what others use where total or free memory is not known. What does not fit makes the
    sum larger than the total.
    """
    in_use = 0
    if row.total_bytes is not None and row.free_bytes is not None:
        in_use = row.total_bytes - row.free_bytes
    return [
        (IN_USE, in_use),
        (MODEL, row.model_bytes),
        (CONTEXT, row.context_bytes),
        (COMPUTE, row.compute_bytes),
        (OVERHEAD, row.overhead_bytes),
        (SHARED, row.shared_bytes),
        (HEADROOM, row.headroom_bytes),
        (SPARE, max(row.spare_bytes or 0, 0)),
    ]


def borders(
    sizes: Sequence[int], *, total: int, width: int, least: int = 1, all_seen: bool = False
) -> list[int]:
    """Return where each size ends when ``total`` is drawn ``width`` steps wide.

    Ends are rounded, so that the sizes always fill their share; a size above zero is given at least
    ``least`` steps where there is room. What lies beyond the total is cut off. ``all_seen``: those
    before the last make room for the small ones behind them.
    """
    ends: list[int] = []
    running, column, to_come = 0, 0, sum(size > 0 for size in sizes)
    for size in sizes:
        running += max(size, 0)
        to_come -= size > 0
        end = round(width * running / total) if total > 0 else 0
        end = max(end, column + least * (size > 0))
        if all_seen:
            end = max(min(end, width - least * to_come), column)
        column = min(end, width)
        ends.append(column)
    return ends


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
