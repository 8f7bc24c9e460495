"""Physical quantities of one place -> the time that they take: terms, their constants, the overlap.

A term is a quantity at its peak; its constant (``speed_constants.py``) is that of the most special
class of hardware that has one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from localllm.core.rates import Rates
from localllm.core.speed_constants import CONSTANTS
from localllm.core.steps import PlaceKind, Work

Constants = Mapping[str, float]
"""By ``regime class term``: seconds per second at the peak, or seconds per count."""

OVERLAP = 1.5
"""How well reading and arithmetic hide each other: 1 would be not at all, infinity perfectly. On a
CPU few threads are bound by arithmetic and many by memory, with a bend between."""

_MEMORY = ("weights", "kv", "scores")
_LAUNCH = ("matrices", "crossing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What one place does in one step, in physical quantities, before constants price them."""

    place: str
    kind: PlaceKind
    keys: tuple[str, ...]
    """Whose constants hold, the most special first: ``("decode cuda hbm", "decode cuda", ...)``."""
    quantities: Mapping[str, float]
    """Seconds at the peak, or counts, by term."""
    memory_bytes: float
    pcie_bytes: float
    flops: float


def constant_name(known: Container[str], keys: Iterable[str], term: str) -> str | None:
    """Return the name of the constant that prices a term, the most special class's first.

    A term of one family of types may share the constant of all (``matmul k``: ``matmul``). None:
    the term costs nothing.
    """
    for key in keys:
        for name in (f"{key} {term}", f"{key} {term.partition(' ')[0]}"):
            if name in known:
                return name
    return None


def priced(terms: Terms, constants: Constants) -> Work:
    """Price a place's terms."""
    times: dict[str, float] = {}
    for term, amount in terms.quantities.items():
        name = constant_name(constants, terms.keys, term) if amount else None
        if name is not None:
            times[term] = amount * constants[name]
    memory_s = sum(times.get(term, 0.0) for term in _MEMORY)
    launch_s = sum(times.get(term, 0.0) for term in _LAUNCH)
    pcie_s = times.get("stream", 0.0)
    compute_s = max(sum(times.values()) - memory_s - launch_s - pcie_s, 0.0)
    return Work(
        place=terms.place,
        kind=terms.kind,
        memory_bytes=round(terms.memory_bytes),
        pcie_bytes=round(terms.pcie_bytes),
        flops=terms.flops,
        memory_s=memory_s,
        compute_s=compute_s,
        pcie_s=pcie_s,
        launch_s=launch_s,
        seconds=overlapped(memory_s, compute_s) + pcie_s + launch_s,
    )


def part_of(term: str) -> Literal["memory", "compute", "rest"]:
    """What a term's time is part of: reading and arithmetic overlap, the rest does not."""
    if term in _MEMORY:
        return "memory"
    return "rest" if term in _LAUNCH or term == "stream" else "compute"


def overlapped(memory_s: float, compute_s: float) -> float:
    """Time of reading and arithmetic that hide each other: ``(m^p + c^p)^(1/p)``.

    The longer of the two, and up to six tenths more where they are equal.
    """
    longer = max(memory_s, compute_s)
    if not longer:
        return 0.0
    return longer * float(
        ((memory_s / longer) ** OVERLAP + (compute_s / longer) ** OVERLAP) ** (1 / OVERLAP)
    )


def read_s_per_byte(peak: Rates, constants: Constants = CONSTANTS) -> float:
    """Time that decode takes for a byte of weights at a place: what really tells cards apart.

    A V100 has more bandwidth than an RTX 4080 and reaches less of it.
    """
    name = constant_name(constants, [f"decode {each}" for each in peak.classes], "weights")
    return (constants[name] if name else 1.0) / peak.bandwidth
