"""Energies of several meters as one, under a scope that says what was added.

What contains something else is never added to it, and what is missing is named.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from localllm.core.metered.readings import Energy, MeterScope, Source, Trace, Unmeasured

_ORDER: tuple[MeterScope, ...] = (
    "GPU board",
    "CPU package",
    "DRAM",
    "whole chip",
    "whole laptop",
)
_WHOLES: frozenset[MeterScope] = frozenset({"whole chip", "whole laptop"})
"""They hold everything else that could be measured on their machine."""

NO_METER = Unmeasured(reason="there is no power meter")

SAME_S = 1e-3
"""Windows that differ by less are one."""


def together(energies: Sequence[Energy | Unmeasured]) -> Energy | Unmeasured:
    """Return the sum of several meters over one window.

    Statistical errors add in quadrature; gains add as they stand, weighted by energy, for meters
    of one make err alike. Unmeasured where one of them is, where the windows differ, or where one
    scope holds another.
    """
    for found in energies:
        if isinstance(found, Unmeasured):
            return found
    parts = [found for found in energies if isinstance(found, Energy)]
    if not parts:
        return NO_METER
    return _sum(parts, [meter for part in parts for meter in part.meters])


def together_known(
    found: Sequence[tuple[Source, Energy | Unmeasured]],
) -> Energy | Unmeasured:
    """Return the sum of what was measured, and name what is missing.

    The scope then reads ``1 of 2 GPU boards``, and ``Energy.missing`` holds the reasons. Unmeasured
    where nothing was.
    """
    known = [energy for _, energy in found if isinstance(energy, Energy)]
    lacking = [(source, why) for source, why in found if isinstance(why, Unmeasured)]
    if not known:
        return lacking[0][1] if lacking else NO_METER
    return _sum(
        known,
        [source for source, _ in found],
        [source for source, _ in lacking],
        tuple(f"{source.scope} {source.device}: {why.reason}" for source, why in lacking),
    )


def clash(sources: Sequence[Source]) -> str | None:
    """Return why the energies of these meters cannot be added, or None where they can."""
    wholes = [source for source in sources if source.scope in _WHOLES]
    others = [source for source in sources if source not in wholes]
    laptops = [source for source in wholes if source.scope == "whole laptop"]
    if wholes and others:
        return f"{wholes[0].scope} holds {others[0].scope}: they are not added"
    if laptops and len(wholes) > 1:
        return "whole laptop holds everything else: nothing is added to it"
    twice = [key for key, n in Counter(_place(source) for source in sources).items() if n > 1]
    if twice:
        return f"{twice[0][0]} {twice[0][1]} is measured twice: its meters are not added"
    return None


def addable(traces: Iterable[Trace]) -> tuple[Trace, ...]:
    """Return the traces that may be added: parts of the machine, else its chip, else the whole.

    Parts go first because they say most precisely what the run took; of two meters of one device
    the first is kept.
    """
    unique: dict[tuple[MeterScope, str, str | None], Trace] = {}
    for trace in traces:
        unique.setdefault(_place(trace.source), trace)
    for scopes in (frozenset(_ORDER) - _WHOLES, {"whole chip"}, {"whole laptop"}):
        chosen = tuple(trace for trace in unique.values() if trace.source.scope in scopes)
        if chosen:
            return chosen[:1] if "whole laptop" in scopes else chosen
    return ()


def scope_text(sources: Sequence[Source], lacking: Sequence[Source] = ()) -> str:
    """Return ``2 GPU boards + CPU package``; with some lacking ``1 of 2 GPU boards``."""
    had, lost = Counter(s.scope for s in sources), Counter(s.scope for s in lacking)
    words, without = [], []
    for scope in _ORDER:
        n, n_all = had[scope], had[scope] + lost[scope]
        if n_all == 0:
            continue
        # Memory is not counted in pieces: each package has its own.
        plural = scope if scope == "DRAM" or n_all == 1 else f"{scope}s"
        if n == n_all:
            words.append(plural if n_all == 1 or scope == "DRAM" else f"{n} {plural}")
        elif n > 0:
            words.append(f"{n} of {n_all} {plural}")
        else:
            without.append(plural)
    text = " + ".join(words)
    return f"{text} without {' and '.join(without)}" if without else text


def _place(source: Source) -> tuple[MeterScope, str, str | None]:
    """What is measured, by whichever meter."""
    return source.scope, source.device, source.pci_id


def _sum(
    parts: Sequence[Energy],
    every: Sequence[Source],
    lacking: Sequence[Source] = (),
    missing: tuple[str, ...] = (),
) -> Energy | Unmeasured:
    """Add parts of one window; ``every`` meter of the scope, ``lacking`` those without a part."""
    if len(parts) == 1 and not lacking:
        return parts[0]
    why = "an energy that names no meter is not added" if not every else clash(every)
    if why is not None:
        return Unmeasured(reason=why)
    first = parts[0]
    if any(
        abs(part.began_s - first.began_s) > SAME_S or abs(part.ended_s - first.ended_s) > SAME_S
        for part in parts
    ):
        return Unmeasured(reason="the windows differ: their energies are not added")
    joules = sum(part.joules for part in parts)
    gain_j = sum(part.gain * part.joules for part in parts)
    idle_w = [part.idle_w for part in parts if part.idle_w is not None]
    idle_known = len(idle_w) == len(parts)
    return Energy(
        joules=joules,
        sigma_j=math.hypot(*(part.sigma_j for part in parts)),
        gain=gain_j / joules if joules > 0 else max(part.gain for part in parts),
        began_s=first.began_s,
        ended_s=first.ended_s,
        scope=scope_text([source for source in every if source not in lacking], lacking),
        sources=tuple(dict.fromkeys(name for part in parts for name in part.sources)),
        kinds=tuple(dict.fromkeys(kind for part in parts for kind in part.kinds)),
        window_s=max(part.window_s for part in parts),
        rough=any(part.rough for part in parts),
        idle_w=sum(idle_w) if idle_known else None,
        idle_sigma_w=(
            math.hypot(*(part.idle_sigma_w or 0.0 for part in parts)) if idle_known else None
        ),
        meters=tuple(meter for part in parts for meter in part.meters),
        missing=missing,
    )
