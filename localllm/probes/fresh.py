"""What is free now, and who holds the rest: asked in a moment, right before a model is loaded.

A full detection names the devices once; here only the figures that move are read again. What has
no quick source (a device that llama.cpp alone knows) keeps its figure.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from localllm.core.hardware import Device, Hardware, Host
from localllm.probes.host import available_bytes
from localllm.probes.nvidia_device import holders, read_memory
from localllm.system.nvml import Nvml, NvmlUnavailable, nvml_session
from localllm.system.pci import AMD, normal_pci_id
from localllm.system.sysfiles import folders, read_int, read_text
from localllm.units import MiB, format_bytes

_WORTH_NAMING_BYTES = 256 * MiB
"""A process that holds less RAM than this explains nothing."""


def fresh_memory(hardware: Hardware, names: Collection[str], *, root: Path = Path("/")) -> Hardware:
    """Return a machine with what is free now of its RAM and of the devices with these names.

    Of a GPU that no plan uses nothing is asked: it may sleep.
    """
    host = replace(hardware.host, available_bytes=available_bytes(root))
    wanted = [device for device in hardware.devices if device.name in names]
    free = _nvidia_free(wanted, host, root) | _amd_free(wanted, host, root)
    return replace(
        hardware,
        host=host,
        devices=tuple(_with_free(d, free, host) if d in wanted else d for d in hardware.devices),
    )


def who_holds(device: Device | None, *, root: Path = Path("/")) -> str | None:
    """Return the processes that hold most of a GPU, or of RAM (None); None where none is known."""
    names: list[str] = []
    if device is None:
        names = list(_largest_processes(root))
    elif _has_nvml_id(device):
        try:
            with nvml_session(root) as session:
                for known, handle in _handles(session, [device]):
                    names = holders(session, handle, root) if known is device else names
        except NvmlUnavailable:
            return None
    return ", ".join(names) or None


def _with_free(device: Device, free: dict[str, int], host: Host) -> Device:
    if device.unified:
        # The backend's limit stays; Metal counts what this process took of it, and no other's.
        if device.backend == "metal" or device.free_bytes is None:
            return device
        return replace(device, free_bytes=min(device.free_bytes, host.available_bytes))
    return replace(device, free_bytes=free.get(device.name, device.free_bytes))


# -- NVIDIA ------------------------------------------------------------------------------------


def _nvidia_free(devices: list[Device], host: Host, root: Path) -> dict[str, int]:
    wanted = [device for device in devices if _has_nvml_id(device)]
    if not wanted:
        return {}
    free: dict[str, int] = {}
    try:
        with nvml_session(root) as session:
            for device, handle in _handles(session, wanted):
                memory = read_memory(session, handle, host, {})
                if memory.free_bytes is not None:
                    free[device.name] = memory.free_bytes
    except NvmlUnavailable:
        return {}
    return free


def _has_nvml_id(device: Device) -> bool:
    return (device.uuid or "").startswith(("GPU-", "MIG-"))


def _handles(session: Nvml, devices: list[Device]) -> Iterator[tuple[Device, Any]]:
    """Yield NVML's handles of devices: of whole cards by PCI address, of slices by their UUID.

    Two of llama.cpp's devices on one card (``-v1``) have no memory of their own to be read.
    """
    api = session.api
    addresses = [device.pci_id for device in devices if device.mig is None]
    cards = {d.pci_id: d for d in devices if d.mig is None and addresses.count(d.pci_id) == 1}
    slices = {d.uuid: d for d in devices if d.mig is not None}
    for index in range(session.attempt(api.nvmlDeviceGetCount)[0] or 0):
        card = session.attempt(api.nvmlDeviceGetHandleByIndex, index)[0]
        pci = None if card is None else session.attempt(api.nvmlDeviceGetPciInfo, card)[0]
        if pci is None:
            continue
        text = pci.busId.decode("ascii", "replace") if isinstance(pci.busId, bytes) else pci.busId
        if (device := cards.get(normal_pci_id(text))) is not None:
            yield device, card
        for place in range(
            (session.attempt(api.nvmlDeviceGetMaxMigDeviceCount, card)[0] or 0) if slices else 0
        ):
            part = session.attempt(api.nvmlDeviceGetMigDeviceHandleByIndex, card, place)[0]
            uuid = None if part is None else session.attempt(api.nvmlDeviceGetUUID, part)[0]
            if (device := slices.get(uuid)) is not None:
                yield device, part


# -- AMD ---------------------------------------------------------------------------------------


def _amd_free(devices: list[Device], host: Host, root: Path) -> dict[str, int]:
    """Return what amdgpu says is free of discrete cards; an APU's share moves with the RAM's."""
    free: dict[str, int] = {}
    for device in devices:
        folder = root / "sys/bus/pci/devices" / (device.pci_id or "none")
        if device.unified or read_int(folder / "vendor") != AMD:
            continue
        total = read_int(folder / "mem_info_vram_total")
        used = read_int(folder / "mem_info_vram_used")
        if total is not None and used is not None:
            free[device.name] = total - used
    return free


# -- RAM ---------------------------------------------------------------------------------------


def _largest_processes(root: Path, n: int = 3) -> Iterator[str]:
    """Yield the processes with most resident memory, this one left out."""
    resident = dict(_linux_resident(root) if _is_linux(root) else _other_resident())
    for (pid, name), n_bytes in sorted(resident.items(), key=lambda item: -item[1])[:n]:
        if n_bytes >= _WORTH_NAMING_BYTES:
            yield f"{name} (pid {pid}) {format_bytes(n_bytes)}"


def _is_linux(root: Path) -> bool:
    return root != Path("/") or sys.platform.startswith("linux")


def _linux_resident(root: Path) -> Iterator[tuple[tuple[int, str], int]]:
    page = os.sysconf("SC_PAGE_SIZE")
    for folder in folders(root / "proc", "[0-9]*"):
        # proc_pid_statm(5): size, resident, shared ..., in pages. Shared ones are others' as well.
        fields = (read_text(folder / "statm") or "").split()
        if len(fields) < 3 or int(folder.name) == os.getpid():
            continue
        own = int(fields[1]) - int(fields[2])
        if own * page >= _WORTH_NAMING_BYTES:
            yield (int(folder.name), read_text(folder / "comm") or "process"), own * page


def _other_resident() -> Iterator[tuple[tuple[int, str], int]]:
    import psutil

    for process in psutil.process_iter(["name", "memory_info"]):
        memory = process.info["memory_info"]
        if memory is not None and process.pid != os.getpid():
            yield (process.pid, process.info["name"] or "process"), memory.rss
