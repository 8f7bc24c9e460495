"""NVIDIA GPUs through NVML, or from sysfs where NVML is missing or would wake a sleeping GPU.

What is read of one GPU is in ``nvidia_device.py``; power is read in ``power/``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from localllm.core.hardware import Device, Host
from localllm.probes import mig
from localllm.probes.found import Found
from localllm.probes.nvidia_device import read_device, who_holds_it
from localllm.system import nvml
from localllm.system.nvml import Nvml, NvmlUnavailable, nvml_session
from localllm.system.pci import (
    NVIDIA,
    PciDisplay,
    displays,
    link_generation,
    link_width,
    normal_pci_id,
)
from localllm.system.sysfiles import folders, read_text

_ASLEEP = "the GPU sleeps; reading it would wake it"

_LOST = {nvml.REASONS[nvml.GPU_IS_LOST], nvml.REASONS[nvml.RESET_REQUIRED]}

_READ_BY_NVML = (
    "total_bytes",
    "free_bytes",
    "reserved_bytes",
    "cuda_version",
    "compute_capability",
    "n_multiprocessors",
    "memory_bandwidth_gb_s",
    "power_limit_w",
)
_LINK = ("pcie_gen", "pcie_gen_max", "pcie_width", "pcie_width_max")


def probe_nvidia(root: Path, host: Host, *, wake: bool = False) -> Found:
    """Return the NVIDIA GPUs of this machine, in NVML's order (by PCI address).

    When every NVIDIA GPU on the bus sleeps, NVML is not opened unless ``wake`` says so: opening it
    alone costs a laptop some 20 W until the GPU falls asleep again. ``host`` supplies the memory of
    GPUs that have none of their own.
    """
    on_bus = displays(root, NVIDIA)
    if on_bus and all(display.asleep for display in on_bus) and not wake:
        devices = tuple(
            _from_sysfs(root, display, index, _ASLEEP, read_link=False)
            for index, display in enumerate(on_bus)
        )
        return Found(
            devices=devices,
            notes=tuple(
                f"{device.description} at {device.pci_id} sleeps and was left asleep; "
                "its memory is read when a model is loaded"
                for device in devices
            ),
        )
    try:
        with nvml_session(root) as session:
            return _probe(session, root, host, on_bus)
    except NvmlUnavailable as error:
        return _without_nvml(root, on_bus, error)


def sleeping_gpus(root: Path) -> tuple[str, ...]:
    """Return the PCI addresses of NVIDIA GPUs that are powered down, without waking them."""
    return tuple(display.pci_id for display in displays(root, NVIDIA) if display.asleep)


def _probe(session: Nvml, root: Path, host: Host, on_bus: list[PciDisplay]) -> Found:
    api = session.api
    unknown: dict[str, str] = {}
    driver = session.read(unknown, "driver", api.nvmlSystemGetDriverVersion)
    cuda = session.read(unknown, "cuda_version", api.nvmlSystemGetCudaDriverVersion_v2)
    count, failure = session.attempt(api.nvmlDeviceGetCount)
    if failure is not None or not count:
        reason = "the driver sees no GPU" if failure is None else failure[1]
        return _without_nvml(root, on_bus, NvmlUnavailable(reason, failure[0] if failure else 0))
    devices: list[Device] = []
    notes: list[str] = []
    for index in range(count):
        handle, failure = session.attempt(api.nvmlDeviceGetHandleByIndex, index)
        if handle is None:
            reason = failure[1] if failure is not None else "no answer"
            devices.append(_unreadable(index, reason))
            notes.append(f"NVIDIA GPU {index} cannot be used: {reason}")
            continue
        device = read_device(session, handle, index, host)
        device = replace(
            device,
            driver=driver,
            cuda_version=None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
            unknown={**device.unknown, **unknown},
        )
        slices, slice_notes = mig.slices(session, handle, device)
        notes += slice_notes
        if device.mig is None:
            notes += who_holds_it(session, handle, device, root)
        lost = [reason for reason in device.unknown.values() if reason in _LOST]
        if lost:
            device = replace(device, visible=False)
            notes.append(f"{device.description} at {device.pci_id} cannot be used: {lost[0]}")
        devices += [device, *slices]
    return Found(devices=_with_lost_addresses(devices, on_bus), notes=tuple(notes))


def _without_nvml(root: Path, on_bus: list[PciDisplay], error: NvmlUnavailable) -> Found:
    """Return what sysfs knows of the GPUs, with the one reason that explains the rest."""
    devices = tuple(
        replace(
            _from_sysfs(root, display, index, error.reason, read_link=not display.asleep),
            visible=False,
        )
        for index, display in enumerate(on_bus)
    )
    driver_here = bool(folders(root / "proc/driver/nvidia/gpus", "*"))
    # A missing library on a machine without any NVIDIA GPU is not worth a sentence.
    silent = error.code == nvml.LIBRARY_NOT_FOUND and not devices and not driver_here
    if silent:
        return Found(absent=error.reason)
    return Found(devices=devices, notes=(f"no NVIDIA GPU can be used: {error.reason}",))


def _from_sysfs(
    root: Path, display: PciDisplay, index: int, reason: str, *, read_link: bool
) -> Device:
    facts = _driver_facts(root, display.pci_id)
    unknown = dict.fromkeys(_READ_BY_NVML, reason)
    folder = root / "sys/bus/pci/devices" / display.pci_id
    gen = gen_max = width = width_max = None
    if read_link:
        gen = link_generation(read_text(folder / "current_link_speed"))
        gen_max = link_generation(read_text(folder / "max_link_speed"))
        width = link_width(folder, "current_link_width")
        width_max = link_width(folder, "max_link_width")
    for field, value in zip(_LINK, (gen, gen_max, width, width_max), strict=True):
        if value is None:
            unknown[field] = reason if not read_link else "sysfs does not tell"
    uuid = facts.get("GPU UUID", "")
    if "?" in uuid or not uuid:  # the driver writes question marks until it has initialised the GPU
        unknown["uuid"] = reason
    driver = read_text(root / "sys/module/nvidia/version")
    if driver is None:
        unknown["driver"] = "the NVIDIA kernel module is not loaded"
    return Device(
        name=f"nvidia{index}",
        description=facts.get("Model") or f"NVIDIA GPU [10de:{display.device:04x}]",
        kind="gpu",
        backend="none",
        total_bytes=None,
        free_bytes=None,
        pci_id=display.pci_id,
        uuid=None if "uuid" in unknown else uuid,
        driver=driver,
        pcie_gen=gen,
        pcie_gen_max=gen_max,
        pcie_width=width,
        pcie_width_max=width_max,
        unknown=unknown,
    )


def _driver_facts(root: Path, pci_id: str) -> dict[str, str]:
    """Return the driver's own page about a GPU; reading it does not wake the GPU."""
    for folder in folders(root / "proc/driver/nvidia/gpus", "*"):
        if normal_pci_id(folder.name) == pci_id:
            text = read_text(folder / "information") or ""
            pairs = (line.partition(":") for line in text.splitlines())
            return {key.strip(): value.strip() for key, _, value in pairs}
    return {}


def _unreadable(index: int, reason: str) -> Device:
    unknown = dict.fromkeys((*_READ_BY_NVML, *_LINK, "description", "pci_id", "uuid"), reason)
    return Device(
        name=f"nvidia{index}",
        description="NVIDIA GPU",
        kind="gpu",
        backend="none",
        total_bytes=None,
        free_bytes=None,
        visible=False,
        unknown=unknown,
    )


def _with_lost_addresses(devices: list[Device], on_bus: list[PciDisplay]) -> tuple[Device, ...]:
    """Give the one GPU without an address the one address without a GPU: that of a lost card."""
    nameless = [device for device in devices if device.pci_id is None]
    known = {device.pci_id for device in devices}
    left = [display.pci_id for display in on_bus if display.pci_id not in known]
    if len(nameless) != 1 or len(left) != 1:
        return tuple(devices)
    unknown = {k: v for k, v in nameless[0].unknown.items() if k != "pci_id"}
    found = replace(nameless[0], pci_id=left[0], unknown=unknown)
    return tuple(found if device is nameless[0] else device for device in devices)
