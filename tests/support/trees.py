"""Machines as folders: ``/proc`` and ``/sys`` built from tables of path and content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

Files = dict[str, str | bytes | int]

MEMINFO = """\
MemTotal:       32817472 kB
MemFree:         2000000 kB
MemAvailable:   28000000 kB
Buffers:          500000 kB
Cached:          9000000 kB
SwapTotal:       8388604 kB
SwapFree:        8000000 kB
HugePages_Total:       0
"""
TOTAL_BYTES = 32817472 * 1024
AVAILABLE_BYTES = 28000000 * 1024


def plant(root: Path, files: Mapping[str, str | bytes | int]) -> Path:
    """Write files under ``root`` and return it; paths are absolute in the machine."""
    for name, content in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(f"{content}\n")
    return root


def cpu_files(
    n_cpus: int, *, n_siblings: int = 1, name: str = "Test CPU", flags: str = "avx2"
) -> Files:
    """Return the files of a CPU whose core ``i`` has logical CPUs ``i`` and ``i + cores``."""
    cores = n_cpus // n_siblings
    blocks = [
        f"processor\t: {cpu}\nmodel name\t: {name}\nphysical id\t: 0\n"
        f"core id\t\t: {cpu % cores}\nflags\t\t: {flags}\n"
        for cpu in range(n_cpus)
    ]
    files: Files = {
        "/proc/cpuinfo": "\n".join(blocks),
        "/proc/meminfo": MEMINFO,
        "/proc/self/status": f"Name:\tpython\nCpus_allowed_list:\t0-{n_cpus - 1}",
        "/sys/devices/system/cpu/online": f"0-{n_cpus - 1}",
    }
    for cpu in range(n_cpus):
        siblings = ",".join(str(cpu % cores + cores * i) for i in range(n_siblings))
        files[f"/sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list"] = siblings
    return files


def pci_files(
    address: str, *, vendor: int = 0x10DE, device: int = 0x2684, status: str | None = "active"
) -> Files:
    """Return the files of a display adapter on the PCI bus."""
    folder = f"/sys/bus/pci/devices/{address}"
    files: Files = {
        f"{folder}/vendor": f"{vendor:#06x}",
        f"{folder}/device": f"{device:#06x}",
        f"{folder}/class": "0x030000",
        f"{folder}/current_link_speed": "16.0 GT/s PCIe",
        f"{folder}/current_link_width": 8,
        f"{folder}/max_link_speed": "16.0 GT/s PCIe",
        f"{folder}/max_link_width": 16,
    }
    if status is not None:
        files[f"{folder}/power/runtime_status"] = status
    return files


def rapl_files(
    number: int = 0,
    *,
    name: str = "package-0",
    uj: int,
    max_uj: int | None = 262143328850,
    parts: Sequence[str] = (),
) -> Files:
    """Return the files of a RAPL zone, and of its parts (``dram``, ``core`` ...)."""
    top = f"/sys/class/powercap/intel-rapl:{number}"
    zones = {top: name} | {f"{top}/intel-rapl:{number}:{i}": part for i, part in enumerate(parts)}
    files: Files = {}
    for folder, called in zones.items():
        files |= {f"{folder}/name": called, f"{folder}/energy_uj": uj}
        if max_uj is not None:
            files[f"{folder}/max_energy_range_uj"] = max_uj
    return files


def battery_files(
    name: str = "BAT0",
    *,
    status: str = "Discharging",
    power_uw: int | None = None,
    current_ua: int | None = None,
    voltage_uv: int | None = None,
    scope: str | None = None,
) -> Files:
    """Return the files of a battery."""
    values = {
        "type": "Battery",
        "status": status,
        "scope": scope,
        "power_now": power_uw,
        "current_now": current_ua,
        "voltage_now": voltage_uv,
    }
    folder = f"/sys/class/power_supply/{name}"
    return {f"{folder}/{key}": value for key, value in values.items() if value is not None}


def amdgpu_sensors(
    address: str, sensors: Mapping[str, str | bytes | int], *, status: str = "active"
) -> Files:
    """Return the files of an AMD card and of its hwmon folder."""
    folder = f"/sys/bus/pci/devices/{address}"
    return (
        pci_files(address, vendor=0x1002, device=0x744C, status=status)
        | {f"{folder}/mem_info_vram_total": 1 << 30, f"{folder}/hwmon/hwmon4/name": "amdgpu"}
        | {f"{folder}/hwmon/hwmon4/{name}": value for name, value in sensors.items()}
    )
