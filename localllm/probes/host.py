"""The host: CPU and RAM as this process may really use them, under every limit over it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localllm.core.hardware import Host
from localllm.probes import apple, cgroup
from localllm.probes.cpu import Cpu, linux_cpu
from localllm.system.sysfiles import read_text
from localllm.units import format_bytes

_NOT_MEASURED = "not measured; it is measured on request"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReport:
    """The host, and what a person should know about it."""

    host: Host
    notes: tuple[str, ...] = ()


def probe_host(root: Path = Path("/")) -> HostReport:
    """Return this host. A root other than ``/`` is read as a Linux machine."""
    if root == Path("/") and sys.platform == "darwin":
        return _darwin()
    if root == Path("/") and sys.platform == "win32":
        return _windows()
    return linux_host(root, machine=platform.machine())


def linux_host(root: Path, *, machine: str) -> HostReport:
    """Return the host that ``/proc`` and ``/sys`` under ``root`` describe."""
    meminfo = parse_meminfo(read_text(root / "proc/meminfo") or "")
    physical, free = meminfo.get("MemTotal", 0), _free(meminfo)
    unknown: dict[str, str] = {}
    if not physical:
        unknown["total_bytes"] = unknown["available_bytes"] = "no /proc/meminfo"
    limits = cgroup.memory_limits(root)
    least_room = cgroup.tightest(limits)
    smallest = min(limits, key=lambda limit: limit.limit_bytes, default=None)
    binding = None
    if smallest is not None and smallest.limit_bytes < physical:
        binding = smallest.file
    if least_room is not None and least_room.room_bytes < free:
        binding = least_room.file
    total = physical if smallest is None else min(physical, smallest.limit_bytes)
    available = free if least_room is None else min(free, least_room.room_bytes)
    swap_total, swap_free = meminfo.get("SwapTotal", 0), meminfo.get("SwapFree", 0)
    swap_limit = cgroup.swap_limit_bytes(root)
    if swap_limit is not None:
        swap_total, swap_free = min(swap_total, swap_limit), min(swap_free, swap_limit)
    cpu = linux_cpu(root)
    quota = cgroup.cpu_quota(root)
    unknown |= cpu.unknown
    unknown["memory_bandwidth_gb_s"] = _NOT_MEASURED
    host = Host(
        cpu=cpu.name,
        os="linux",
        machine=machine,
        total_bytes=total,
        available_bytes=min(available, total),
        memory_limit=binding,
        swap_total_bytes=swap_total,
        swap_free_bytes=swap_free,
        n_cores_physical=cpu.n_cores_physical,
        n_cores_performance=cpu.n_cores_performance,
        n_threads_logical=cpu.n_threads_logical,
        cpu_quota=quota,
        isa=cpu.isa,
        n_numa_nodes=cpu.n_numa_nodes,
        unknown=unknown,
    )
    return HostReport(host=host, notes=tuple(_linux_notes(host, cpu, physical)))


def available_bytes(root: Path = Path("/")) -> int:
    """Return what a new process may take now, alone: as ``Host.available_bytes``, in a moment."""
    if root == Path("/") and sys.platform in ("darwin", "win32"):
        import psutil

        return psutil.virtual_memory().available
    free = _free(parse_meminfo(read_text(root / "proc/meminfo") or ""))
    least_room = cgroup.tightest(cgroup.memory_limits(root))
    return free if least_room is None else min(free, least_room.room_bytes)


def page_cache_bytes(root: Path = Path("/")) -> int | None:
    """Return how much of the RAM holds pages of files, which are given up when it is needed.

    None where the system does not tell. A tmpfs counts as cached, and is not given up.
    """
    if root == Path("/") and not sys.platform.startswith("linux"):
        return None
    meminfo = parse_meminfo(read_text(root / "proc/meminfo") or "")
    if "Cached" not in meminfo:
        return None
    return max(meminfo["Cached"] - meminfo.get("Shmem", 0), 0) + meminfo.get("Buffers", 0)


def _free(meminfo: Mapping[str, int]) -> int:
    available = meminfo.get("MemAvailable")
    if available is not None:
        return available
    return sum(meminfo.get(key, 0) for key in ("MemFree", "Buffers", "Cached"))  # before Linux 3.14


def parse_meminfo(text: str) -> dict[str, int]:
    """Return ``/proc/meminfo`` in bytes: its "kB" are 1024 bytes."""
    sizes: dict[str, int] = {}
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[0].isdecimal() and words[1] == "kB":
            sizes[key] = int(words[0]) * 1024
    return sizes


def _linux_notes(host: Host, cpu: Cpu, physical_bytes: int) -> list[str]:
    notes = []
    if host.memory_limit is not None:
        notes.append(
            f"{host.memory_limit} limits this process: {format_bytes(host.available_bytes)} are "
            f"available of the machine's {format_bytes(physical_bytes)}"
        )
    if cpu.n_threads_logical < cpu.n_threads_online:
        notes.append(
            f"this process may run on {cpu.n_threads_logical} of {cpu.n_threads_online} "
            "logical CPUs (affinity mask)"
        )
    if host.cpu_quota is not None and host.cpu_quota < host.n_threads_logical:
        notes.append(f"a control group allows this process {host.cpu_quota:g} CPUs of time")
    return notes


def _darwin() -> HostReport:
    import psutil

    values = apple.sysctl_values()
    memory = psutil.virtual_memory()
    return HostReport(
        host=apple.host_from_sysctl(
            values,
            machine=platform.machine(),
            total_bytes=memory.total,
            available_bytes=memory.available,
        )
    )


def _windows() -> HostReport:
    import psutil

    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    process = psutil.Process()
    allowed = len(process.cpu_affinity() or ()) or psutil.cpu_count() or 1
    physical = psutil.cpu_count(logical=False)
    unknown = {"isa": "not read on Windows", "memory_bandwidth_gb_s": _NOT_MEASURED}
    if physical is None:
        unknown["n_cores_physical"] = "Windows does not tell"
    unknown["n_cores_performance"] = "not read on Windows"
    host = Host(
        cpu=_windows_cpu_name(os.environ),
        os="windows",
        machine={"AMD64": "x86_64", "ARM64": "arm64"}.get(platform.machine(), platform.machine()),
        total_bytes=memory.total,
        available_bytes=memory.available,
        swap_total_bytes=swap.total,
        swap_free_bytes=swap.free,
        n_cores_physical=physical,
        n_threads_logical=allowed,
        unknown=unknown,
    )
    return HostReport(host=host)


def _windows_cpu_name(env: Mapping[str, str]) -> str:
    if sys.platform == "win32":
        import winreg

        try:
            with winreg.OpenKey(
                winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
            ) as key:
                return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
        except OSError:
            pass
    return env.get("PROCESSOR_IDENTIFIER", "unknown CPU")
