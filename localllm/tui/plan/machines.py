"""Machines to plan for, by name: what a person may write, and what each machine has. Pure.

``a100``, ``2x rtx-4090``, ``rtx-4090 + epyc-9654``: the last part is looked for, those before it
are taken already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from localllm.core.hardware import Hardware
from localllm.units import format_bytes

SUGGESTED = ("a100-pcie-80gb", "h100-sxm5-80gb", "rtx-4090", "rtx-3060-12gb", "apple-m3-max")
"""Offered first: what people ask about most, from large to small."""

_COUNT = re.compile(r"\s*(\d{1,2})\s*[x×]\s*", re.IGNORECASE)
_SLICE = "-mig-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One machine on offer, in the figures that matter for a plan."""

    name: str
    memory: str
    bandwidth: str
    what: str


def profile(name: str, hardware: Hardware) -> Profile:
    """Return a machine's figures: of its GPUs, or of its RAM where it has none."""
    devices, host = hardware.devices, hardware.host
    if devices:
        n_bytes = sum(device.total_bytes or 0 for device in devices)
        rate = devices[0].memory_bandwidth_gb_s
        first = devices[0].description
        what = first if len(devices) == 1 else f"{len(devices)}x {first}"
        if devices[0].unified:
            n_bytes = host.total_bytes
        unit = "RAM, shared" if devices[0].unified else "VRAM"
    else:
        n_bytes, rate, what, unit = host.total_bytes, host.memory_bandwidth_gb_s, host.cpu, "RAM"
    return Profile(
        name=name,
        memory=f"{format_bytes(n_bytes)} {unit}",
        bandwidth="–" if rate is None else f"{rate:,.0f} GB/s",
        what=what,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """What a person has written so far."""

    taken: tuple[str, ...]
    """Parts before the last, as they stand."""
    count: int
    words: tuple[str, ...]
    """What the name must hold, without dashes."""

    def names(self, name: str) -> tuple[str, ...]:
        """Return the parts with a profile's name for the last one."""
        return (*self.taken, name if self.count == 1 else f"{self.count}x {name}")

    def memory(self, profile: Profile) -> str:
        """Return what so many of a profile have."""
        return profile.memory if self.count == 1 else f"{self.count}x {profile.memory}"


def sought(text: str) -> Sought:
    """Read what was written."""
    *before, last = text.split("+")
    counted = _COUNT.match(last)
    rest = last[counted.end() :] if counted else last
    return Sought(
        taken=tuple(part.strip() for part in before if part.strip()),
        count=max(int(counted[1]), 1) if counted else 1,
        words=tuple(filter(None, (_plain(word) for word in rest.split()))),
    )


def found(seek: Sought, profiles: Iterable[Profile]) -> tuple[Profile, ...]:
    """Return the machines that hold every word: suggestions first, slices only when asked for."""
    wants_slices = any("mig" in word for word in seek.words)
    each = [
        profile
        for profile in profiles
        if all(word in _plain(f"{profile.name} {profile.what}") for word in seek.words)
        and (wants_slices or _SLICE not in profile.name)
    ]
    return tuple(sorted(each, key=lambda profile: (_rank(profile.name, seek), profile.name)))


def _rank(name: str, seek: Sought) -> int:
    """Suggestions in their order where nothing is sought; then what begins with the words."""
    if not seek.words:
        return SUGGESTED.index(name) if name in SUGGESTED else len(SUGGESTED)
    return 0 if _plain(name).startswith("".join(seek.words)) else 1


def _plain(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


def one_more(machines: Sequence[str]) -> tuple[str, ...] | None:
    """Return the name of two where there is one: ``2x rtx-4090``; None for several parts.

    Whether there is such a machine is not asked: only a single card can be counted.
    """
    if len(machines) != 1:
        return None
    seek = sought(machines[0])
    counted = _COUNT.match(machines[0])
    name = machines[0][counted.end() :] if counted else machines[0]
    return None if seek.taken else (f"{seek.count + 1}x {name}",)
