"""PCI: one spelling of a device's address, link speeds, and what sleeps, from sysfs alone.

Only attributes that the kernel answers from its own memory are read of a device that may sleep:
anything that touches its configuration space would wake it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from localllm.system.sysfiles import folders, read_int, read_text

NVIDIA = 0x10DE
AMD = 0x1002

_DISPLAY_CLASS = 0x03
_ADDRESS = re.compile(
    r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-7])(?:-v\d+)?", re.IGNORECASE
)
_GEN_BY_GT_S = {"2.5": 1, "5": 2, "5.0": 2, "8": 3, "8.0": 3, "16": 4, "16.0": 4}
_GEN_BY_GT_S |= {"32": 5, "32.0": 5, "64": 6, "64.0": 6}


@dataclass(frozen=True, slots=True, kw_only=True)
class PciDisplay:
    """A display adapter or compute card on the PCI bus, as the kernel remembers it."""

    pci_id: str
    vendor: int
    device: int
    runtime_status: str | None
    """``active``, ``suspended`` ..., or None where the kernel does not manage its power."""

    @property
    def asleep(self) -> bool:
        """Powered down; reading it through its driver would wake it."""
        return self.runtime_status in ("suspended", "suspending")


def normal_pci_id(text: str | None) -> str | None:
    """Return ``dddd:bb:dd.f`` in lower case, or None for what is no PCI address.

    NVML writes ``00000000:C1:00.0`` and llama.cpp ``0000:c1:00.0``, with ``-v1`` behind it for the
    second virtual device on one card (ggml-cuda.cu, "virtual devices"): all are one card. A domain
    wider than 16 bits (Azure) keeps its digits as long as they are not zeros.
    """
    match = _ADDRESS.fullmatch((text or "").strip())
    if match is None:
        return None
    domain, bus, slot, function = (part or "0" for part in match.groups())
    return f"{int(domain, 16):04x}:{int(bus, 16):02x}:{int(slot, 16):02x}.{function}"


def displays(root: Path, vendor: int) -> list[PciDisplay]:
    """Return the display adapters and compute cards of one vendor, in the order of addresses."""
    found = []
    for folder in folders(root / "sys/bus/pci/devices", "*"):
        kind = read_int(folder / "class")
        pci_id = normal_pci_id(folder.name)
        if read_int(folder / "vendor") != vendor or kind is None or pci_id is None:
            continue
        if kind >> 16 == _DISPLAY_CLASS:
            found.append(
                PciDisplay(
                    pci_id=pci_id,
                    vendor=vendor,
                    device=read_int(folder / "device") or 0,
                    runtime_status=read_text(folder / "power/runtime_status"),
                )
            )
    return sorted(found, key=lambda display: display.pci_id)


def link_generation(text: str | None) -> int | None:
    """Return the PCIe generation of ``16.0 GT/s PCIe``, or None for ``Unknown``."""
    return _GEN_BY_GT_S.get((text or "").partition(" ")[0])


def link_width(folder: Path, name: str) -> int | None:
    """Return a number of lanes; the kernel writes 0 or 255 for a link that it cannot see."""
    width = read_int(folder / name)
    return width if width is not None and 0 < width <= 32 else None
