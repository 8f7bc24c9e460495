"""AMD GPUs from what the amdgpu and amdkfd drivers publish under ``/sys``.

Nothing of ROCm needs to be installed. A GPU that sleeps is not asked anything that would wake it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from localllm.core.hardware import Device, Host
from localllm.probes.found import Found
from localllm.system.pci import AMD, link_generation, link_width, normal_pci_id
from localllm.system.sysfiles import folders, read_int, read_text, to_int

_ASLEEP = "the GPU sleeps; reading it would wake it"

_APU_ARCH = re.compile(r"gfx(801|810|902|909|90c|1013|1033|1035|1036|1037|1103|115[0-3])")
"""LLVM, "User Guide for AMDGPU Backend": processors of type APU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KfdNode:
    """A GPU in the compute driver's topology, ``/sys/class/kfd/kfd/topology/nodes``."""

    arch: str | None = None
    n_compute_units: int | None = None
    memory_clock_mhz: int | None = None
    memory_width_bits: int | None = None


@dataclass(slots=True, kw_only=True)
class _Reading:
    """Values of one card's folder; what is missing gets its reason."""

    folder: Path
    unknown: dict[str, str] = field(default_factory=dict)

    def integer(self, key: str, name: str) -> int | None:
        value = read_int(self.folder / name)
        if value is None:
            self.unknown[key] = f"amdgpu gives no {name}"
        return value


def probe_amd(root: Path, host: Host, *, wake: bool = False) -> Found:
    """Return the AMD GPUs that the amdgpu driver runs, in the order of their PCI addresses.

    ``host`` bounds what an APU can take of the machine's memory.
    """
    nodes = kfd_nodes(root)
    devices = []
    for card in folders(root / "sys/class/drm", "card[0-9]*"):
        folder = card / "device"
        if "-" in card.name or read_int(folder / "vendor") != AMD:
            continue  # card0-DP-1 is a connector
        facts = dict(
            line.split("=", 1)
            for line in (read_text(folder / "uevent") or "").splitlines()
            if "=" in line
        )
        address = normal_pci_id(facts.get("PCI_SLOT_NAME") or folder.resolve().name)
        node = nodes.get(address or "", KfdNode())
        devices.append(_read_card(root, folder, address, node, host, wake=wake))
    devices.sort(key=lambda device: device.pci_id or "")
    named = [replace(device, name=f"amd{index}") for index, device in enumerate(devices)]
    absent = None if named else "no AMD GPU with the amdgpu driver"
    return Found(devices=tuple(named), absent=absent)


def kfd_nodes(root: Path) -> dict[str, KfdNode]:
    """Return the compute driver's GPUs by PCI address; empty without the driver."""
    nodes = {}
    for folder in folders(root / "sys/class/kfd/kfd/topology/nodes", "*"):
        facts = _properties(folder / "properties")
        if not facts.get("simd_count"):
            continue  # a CPU
        location = facts.get("location_id", 0)
        address = (
            f"{facts.get('domain', 0):04x}:{location >> 8:02x}:"
            f"{location >> 3 & 0x1F:02x}.{location & 7}"
        )
        bank = _properties(folder / "mem_banks/0/properties")
        per_unit = facts.get("simd_per_cu", 0)
        nodes[address] = KfdNode(
            arch=arch_name(facts.get("gfx_target_version", 0)),
            n_compute_units=facts["simd_count"] // per_unit if per_unit else None,
            memory_clock_mhz=bank.get("mem_clk_max") or None,
            memory_width_bits=bank.get("width") or None,
        )
    return nodes


def arch_name(gfx_target_version: int) -> str | None:
    """Return ``gfx90a`` for 90010: two decimal digits each of minor and stepping, in hex."""
    if gfx_target_version < 10000:
        return None
    major, rest = divmod(gfx_target_version, 10000)
    minor, stepping = divmod(rest, 100)
    return f"gfx{major}{minor:x}{stepping:x}"


def memory_bandwidth_gb_s(node: KfdNode, *, apu: bool) -> float | None:
    """Return the peak of a card's memory bus in GB/s, or None where its memory type is not clear.

    amdkfd gives the clock of the memory controller: HBM moves two words in each cycle and is at
    least 2,048 bits wide (MI210: 1,600 MHz, 4,096 bits, 1,638 GB/s); GDDR6, on every narrower card
    since RDNA, moves sixteen (RX 7900 XTX: 1,249 MHz, 384 bits, 959 GB/s). An APU has whatever
    memory the board has.
    """
    clock, width = node.memory_clock_mhz, node.memory_width_bits
    if apu or not clock or not width:
        return None
    if width >= 2048:
        return clock * 1e6 * 2 * width / 8 / 1e9
    if (node.arch or "").startswith(("gfx10", "gfx11", "gfx12")):
        return clock * 1e6 * 16 * width / 8 / 1e9
    return None


def _read_card(
    root: Path, folder: Path, address: str | None, node: KfdNode, host: Host, *, wake: bool
) -> Device:
    reading = _Reading(folder=folder)
    unknown = reading.unknown
    status = read_text(folder / "power/runtime_status")
    asleep = status in ("suspended", "suspending") and not wake
    vram = reading.integer("total_bytes", "mem_info_vram_total")
    used = reading.integer("free_bytes", "mem_info_vram_used")
    hwmon = next(iter(folders(folder / "hwmon", "hwmon*")), None)
    apu = _APU_ARCH.fullmatch(node.arch or "") is not None or (
        # "Northbridge voltage (APUs only)", amdgpu's documentation. A label wakes nothing.
        hwmon is not None and read_text(hwmon / "in1_label") == "vddnb"
    )
    total = vram
    free = None if vram is None or used is None else vram - used
    if apu and vram is not None:
        # An APU takes its carve-out and, through the GTT, a share of the host's memory.
        gtt = read_int(folder / "mem_info_gtt_total") or 0
        gtt_used = read_int(folder / "mem_info_gtt_used") or 0
        total = vram + gtt
        if free is not None:
            free += max(0, min(gtt - gtt_used, host.available_bytes))
    bandwidth = memory_bandwidth_gb_s(node, apu=apu)
    if bandwidth is None:
        unknown["memory_bandwidth_gb_s"] = (
            "the memory is the board's own" if apu else "amdkfd gives no memory clock and width"
        )
    limit_w = None
    if asleep:
        unknown["power_limit_w"] = _ASLEEP
    else:
        limit_uw = None if hwmon is None else read_int(hwmon / "power1_cap")
        if not limit_uw:  # a virtual machine's card may give 0
            unknown["power_limit_w"] = "amdgpu gives no power1_cap"
        limit_w = limit_uw / 1e6 if limit_uw else None
    link = _Link() if asleep else _link(folder)
    for key in ("pcie_gen", "pcie_gen_max", "pcie_width", "pcie_width_max"):
        if getattr(link, key) is None:
            unknown[key] = _ASLEEP if asleep else "sysfs does not tell"
    unique = read_text(folder / "unique_id")
    if not unique:
        unknown["uuid"] = "amdgpu gives no unique_id"
    driver = read_text(root / "sys/module/amdgpu/version")
    if driver is None:
        unknown["driver"] = "the kernel's own amdgpu has no version"
    for key, value in (("arch", node.arch), ("n_multiprocessors", node.n_compute_units)):
        if value is None:
            unknown[key] = "the compute driver (amdkfd) does not list this GPU"
    return Device(
        name="amd",
        description=_product(root, folder),
        kind="igpu" if apu else "gpu",
        backend="none",
        total_bytes=total,
        free_bytes=free,
        unified=apu,
        pci_id=address,
        uuid=unique or None,
        driver=driver,
        arch=node.arch,
        n_multiprocessors=node.n_compute_units,
        memory_bandwidth_gb_s=bandwidth,
        memory_bandwidth_basis=None if bandwidth is None else "memory clock x bus width",
        pcie_gen=link.pcie_gen,
        pcie_gen_max=link.pcie_gen_max,
        pcie_width=link.pcie_width,
        pcie_width_max=link.pcie_width_max,
        power_limit_w=limit_w,
        unknown=unknown,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    pcie_gen: int | None = None
    pcie_gen_max: int | None = None
    pcie_width: int | None = None
    pcie_width_max: int | None = None


def _link(folder: Path) -> _Link:
    """Return the PCIe link of a card to the board.

    Cards since Vega 10 sit behind a switch of AMD's own on the card, so the GPU's link always
    looks full: the link that counts is that of the topmost AMD function above it.
    """
    here = folder.resolve()
    while read_int(here.parent / "vendor") == AMD:
        here = here.parent
    return _Link(
        pcie_gen=link_generation(read_text(here / "current_link_speed")),
        pcie_gen_max=link_generation(read_text(here / "max_link_speed")),
        pcie_width=link_width(here, "current_link_width"),
        pcie_width_max=link_width(here, "max_link_width"),
    )


def _product(root: Path, folder: Path) -> str:
    """Return a card's name: its own record (servers), else libdrm's table of devices."""
    name = read_text(folder / "product_name")
    if name:
        return name
    device, revision = read_int(folder / "device"), read_int(folder / "revision")
    for line in (read_text(root / "usr/share/libdrm/amdgpu.ids") or "").splitlines():
        parts = [part.strip() for part in line.split(",", 2)]
        if len(parts) == 3 and (_hex(parts[0]), _hex(parts[1])) == (device, revision):
            return parts[2]
    return f"AMD GPU [1002:{device or 0:04x}]"


def _hex(text: str) -> int | None:
    return to_int("0x" + text)


def _properties(path: Path) -> dict[str, int]:
    """Return the ``name value`` lines of a topology file."""
    facts = {}
    for line in (read_text(path) or "").splitlines():
        name, _, value = line.partition(" ")
        number = to_int(value.strip())
        if number is not None:
            facts[name] = number
    return facts
