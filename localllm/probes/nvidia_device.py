"""What NVML tells of one GPU, field by field: each that fails is ``None`` with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localllm.core.hardware import Device, Host
from localllm.system import nvml
from localllm.system.nvml import Nvml
from localllm.system.pci import normal_pci_id
from localllm.system.sysfiles import read_text
from localllm.units import MiB, format_bytes

_CORES_PER_MULTIPROCESSOR = {
    # CUDA C++ Programming Guide, "Arithmetic Instructions": FP32 lanes per multiprocessor.
    5: {0: 128, 2: 128, 3: 128},
    6: {0: 64, 1: 128, 2: 128},
    7: {0: 64, 2: 64, 5: 64},
    8: {0: 64, 6: 128, 7: 128, 9: 128},
    9: {0: 128},
    10: {0: 128, 3: 128},
    11: {0: 128},
    12: {0: 128, 1: 128},
}

_HELD_WORTH_SAYING_BYTES = 512 * MiB


def memory_bandwidth_gb_s(memory_clock_mhz: int, bus_width_bits: int) -> float:
    """Return the peak of a memory bus in GB/s: two transfers per cycle of NVML's memory clock.

    That clock already holds what a memory type does beyond double data rate: 10,501 MHz on
    the 384 bits of an RTX 4090 are 1,008 GB/s, 1,593 MHz on the 5,120 bits of an A100-80GB 2,039.
    """
    return memory_clock_mhz * 1e6 * 2 * bus_width_bits / 8 / 1e9


def read_device(session: Nvml, handle: Any, index: int, host: Host) -> Device:
    """Return one GPU under NVML's number; ``host`` stands in for memory that it does not have."""
    api = session.api
    unknown: dict[str, str] = {}

    def read(field: str, function: Any, *arguments: object) -> Any:
        return session.read(unknown, field, function, handle, *arguments)

    pci = read("pci_id", api.nvmlDeviceGetPciInfo)
    address, product = _pci_facts(session, pci, unknown)
    name = read("description", api.nvmlDeviceGetName)
    capability = read("compute_capability", api.nvmlDeviceGetCudaComputeCapability)
    mode, _ = session.attempt(api.nvmlDeviceGetMigMode, handle)
    memory = read_memory(session, handle, host, unknown)
    clock = read("memory_bandwidth_gb_s", api.nvmlDeviceGetMaxClockInfo, api.NVML_CLOCK_MEM)
    width = read("memory_bandwidth_gb_s", api.nvmlDeviceGetMemoryBusWidth)
    bandwidth = memory_bandwidth_gb_s(clock, width) if clock and width else None
    if bandwidth is None:
        unknown.setdefault("memory_bandwidth_gb_s", "the driver gives a clock or a width of 0")
    limit_mw = read("power_limit_w", api.nvmlDeviceGetEnforcedPowerLimit)
    if limit_mw == 0:
        unknown["power_limit_w"] = "the driver gives a limit of 0"
    return Device(
        name=f"nvidia{index}",
        description=name or product,
        kind="gpu",
        backend="none",
        total_bytes=memory.total_bytes,
        free_bytes=memory.free_bytes,
        reserved_bytes=memory.reserved_bytes,
        unified=memory.unified,
        pci_id=address,
        uuid=read("uuid", api.nvmlDeviceGetUUID),
        compute_capability=capability,
        n_multiprocessors=_multiprocessors(session, handle, capability, unknown),
        memory_bandwidth_gb_s=bandwidth,
        memory_bandwidth_basis=None if bandwidth is None else "memory clock x bus width",
        pcie_gen=read("pcie_gen", api.nvmlDeviceGetCurrPcieLinkGeneration),
        pcie_gen_max=read("pcie_gen_max", api.nvmlDeviceGetMaxPcieLinkGeneration),
        pcie_width=read("pcie_width", api.nvmlDeviceGetCurrPcieLinkWidth),
        pcie_width_max=read("pcie_width_max", api.nvmlDeviceGetMaxPcieLinkWidth),
        power_limit_w=limit_mw / 1000 if limit_mw else None,
        mig="enabled" if mode and mode[0] == api.NVML_DEVICE_MIG_ENABLE else None,
        unknown=unknown,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A device's memory as NVML counts it: total = reserved + used + free."""

    total_bytes: int | None
    free_bytes: int | None
    reserved_bytes: int | None
    unified: bool = False


def read_memory(session: Nvml, handle: Any, host: Host, unknown: dict[str, str]) -> Memory:
    """Return a device's memory. One that has none of its own (GB10) has the host's.

    Version 2 of the query counts ``reserved`` apart; version 1 hides it in ``used``. ``free`` is
    the same in both: that is what a plan stands on.
    """
    api = session.api
    version_2, failure = session.attempt(api.nvmlDeviceGetMemoryInfo, handle, api.nvmlMemory_v2)
    info, reserved = version_2, None
    if version_2 is not None:
        reserved = int(version_2.reserved)
    else:
        unknown["reserved_bytes"] = (failure or (0, ""))[1]
        info, failure = session.attempt(api.nvmlDeviceGetMemoryInfo, handle)
    if info is not None and info.total > 0:
        return Memory(
            total_bytes=int(info.total), free_bytes=int(info.free), reserved_bytes=reserved
        )
    if failure is None or failure[0] == nvml.NOT_SUPPORTED:
        unknown["reserved_bytes"] = "the GPU shares the host's memory"
        return Memory(
            total_bytes=host.total_bytes,
            free_bytes=host.available_bytes,
            reserved_bytes=None,
            unified=True,
        )
    unknown["total_bytes"] = unknown["free_bytes"] = failure[1]
    return Memory(total_bytes=None, free_bytes=None, reserved_bytes=None)


def who_holds_it(session: Nvml, handle: Any, device: Device, root: Path) -> list[str]:
    """Return a sentence that names the processes on a GPU when they hold much of it."""
    if device.unified or None in (device.total_bytes, device.free_bytes, device.reserved_bytes):
        return []
    used = (device.total_bytes or 0) - (device.free_bytes or 0) - (device.reserved_bytes or 0)
    if used < _HELD_WORTH_SAYING_BYTES:
        return []
    names = holders(session, handle, root)
    by = f" by {', '.join(names)}" if names else ""
    return [f"{format_bytes(used)} of {device.description} is held{by}"]


def holders(session: Nvml, handle: Any, root: Path) -> list[str]:
    """Return the four processes that hold most of a GPU: ``python (pid 4242) 3.10 GiB``."""
    api = session.api
    held: dict[int, int] = {}
    for function in (
        api.nvmlDeviceGetComputeRunningProcesses,
        api.nvmlDeviceGetGraphicsRunningProcesses,
    ):
        processes: Sequence[Any] = session.attempt(function, handle)[0] or ()
        for process in processes:
            # None: Windows and some drivers do not tell how much each process holds.
            held[process.pid] = max(held.get(process.pid, 0), process.usedGpuMemory or 0)
    return [
        _process(root, pid) + (f" {format_bytes(size)}" if size else "")
        for pid, size in sorted(held.items(), key=lambda item: -item[1])[:4]
    ]


def _process(root: Path, pid: int) -> str:
    name = read_text(root / f"proc/{pid}/comm")
    return f"{name} (pid {pid})" if name else f"pid {pid}"


def _pci_facts(session: Nvml, pci: Any, unknown: dict[str, str]) -> tuple[str | None, str]:
    """Return a GPU's address, and a name for it where the driver's cannot be read."""
    if pci is None:
        return None, "NVIDIA GPU"
    text, failure = session.attempt(lambda: pci.busId)
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    address = normal_pci_id(text)
    if address is None:
        unknown["pci_id"] = failure[1] if failure else f"not a PCI address: {text!r}"
    return address, f"NVIDIA GPU [10de:{pci.pciDeviceId >> 16:04x}]"


def _multiprocessors(
    session: Nvml, handle: Any, capability: tuple[int, int] | None, unknown: dict[str, str]
) -> int | None:
    """Return the number of multiprocessors: NVML counts cores, the architecture those in each."""
    field = "n_multiprocessors"
    cores = session.read(unknown, field, session.api.nvmlDeviceGetNumGpuCores, handle)
    if cores is None:
        return None
    if capability is None:
        unknown[field] = "the compute capability is not known"
        return None
    major, minor = capability
    lanes = _CORES_PER_MULTIPROCESSOR.get(major, {}).get(minor)
    if lanes is None or cores % lanes:
        unknown[field] = f"NVML counts {cores} cores, not multiprocessors"
        return None
    return int(cores) // lanes
