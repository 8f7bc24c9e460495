"""Drawing with characters: bars of several parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

from localllm.words import memory_sum
from localllm.words.memory_sum import Part, borders

STYLES: Mapping[Part, str] = {
    memory_sum.IN_USE: "dim",
    memory_sum.MODEL: "blue",
    memory_sum.CONTEXT: "cyan",
    memory_sum.COMPUTE: "magenta",
    memory_sum.OVERHEAD: "yellow",
    memory_sum.SHARED: "blue",
    memory_sum.HEADROOM: "green",
    memory_sum.SPARE: "dim",
}


def bar(sizes: Sequence[tuple[Part, int]], *, total: int, width: int, unicode: bool = True) -> Text:
    """Return ``width`` characters shared among the parts of ``total``, see ``borders``."""
    text = Text()
    column = 0
    ends = borders([size for _, size in sizes], total=total, width=width)
    for (part, _), end in zip(sizes, ends, strict=True):
        text.append(part.shown(unicode=unicode) * (end - column), style=STYLES[part])
        column = end
    return text
