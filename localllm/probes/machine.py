"""This machine as one ``Hardware``: every probe, joined with llama.cpp's own list of devices."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.core.hardware import THIS_MACHINE, Device, Hardware, Host
from localllm.probes import apple
from localllm.probes.amd import probe_amd
from localllm.probes.found import Found
from localllm.probes.host import probe_host
from localllm.probes.merge import merge
from localllm.probes.nvidia import probe_nvidia, sleeping_gpus
from localllm.probes.visible import hides_all_cuda
from localllm.system.pci import AMD, NVIDIA, displays
from localllm.system.sysfiles import folders

if TYPE_CHECKING:
    from localllm.core.generation import EngineDevice


def detect(
    engine_devices: Sequence[EngineDevice] | None,
    *,
    root: Path = Path("/"),
    env: Mapping[str, str] = os.environ,
    wake_gpus: bool = False,
    measure_bandwidth: bool = False,
) -> Hardware:
    """Return this machine, devices in llama.cpp's order; never raises for an unusual one.

    ``engine_devices`` is what the installed llama.cpp enumerates, or None when it was not asked.
    ``wake_gpus`` allows waking a laptop's sleeping GPU to read it. ``measure_bandwidth`` spends
    about a second on the host's memory.
    """
    report = probe_host(root)
    host = report.host
    found = [
        probe_nvidia(root, host, wake=wake_gpus),
        probe_amd(root, host, wake=wake_gpus),
        _probe_apple(root, host),
    ]
    probed = [device for part in found for device in part.devices]
    devices, merge_notes = merge(probed, engine_devices, env)
    if devices:  # else nothing of the profiles is imported
        from localllm.probes.product_facts import with_product_facts

        devices = with_product_facts(devices, host)
    notes = [*report.notes, *(note for part in found for note in part.notes), *merge_notes]
    if not devices:
        reasons = [part.absent for part in found if part.absent is not None]
        notes.append("no GPU: " + "; ".join(reasons) if reasons else "no GPU")
    if measure_bandwidth:
        host = _with_bandwidth(host)
    return Hardware(
        name=machine_name(host, devices),
        source=THIS_MACHINE,
        host=host,
        devices=devices,
        notes=tuple(dict.fromkeys(notes)),
    )


def accelerators_present(root: Path = Path("/"), env: Mapping[str, str] = os.environ) -> bool:
    """Return whether llama.cpp could see a GPU here, without opening a driver or waking a device.

    False means that asking llama.cpp for its devices cannot tell anything new: a machine without a
    GPU, or with NVIDIA ones that ``CUDA_VISIBLE_DEVICES`` hides altogether. In doubt it is True.
    """
    if root == Path("/") and sys.platform in ("darwin", "win32"):
        return True  # Metal, and any GPU of a Windows machine: the system has no cheap sign of one
    nvidia = (
        bool(folders(root / "proc/driver/nvidia/gpus", "*"))
        or (root / "dev/nvidiactl").exists()
        or bool(displays(root, NVIDIA))
    )
    if nvidia and not hides_all_cuda(env):
        return True
    # dxg: any GPU of the Windows host of a WSL machine. A render node: whatever Vulkan may use.
    return (
        (root / "dev/dxg").exists()
        or (root / "dev/kfd").exists()
        or bool(displays(root, AMD))
        or bool(_render_nodes_of_others(root))
    )


def gpu_sleeps(root: Path = Path("/")) -> bool:
    """Return whether a laptop's NVIDIA GPU is powered down: asking llama.cpp would wake it."""
    return bool(sleeping_gpus(root))


def machine_name(host: Host, devices: Sequence[Device]) -> str:
    """Return a short name: ``2x NVIDIA GeForce RTX 3090, AMD Ryzen 9 5950X 16-Core Processor``."""
    whole = [d.description for d in devices if d.mig in (None, "enabled")]
    counts = Counter(whole or [d.description for d in devices])
    gpus = [name if count == 1 else f"{count}x {name}" for name, count in counts.items()]
    return ", ".join([*gpus, host.cpu])


def _probe_apple(root: Path, host: Host) -> Found:
    if root != Path("/") or sys.platform != "darwin":
        return Found()
    device = apple.gpu_from_sysctl(apple.sysctl_values(), available_bytes=host.available_bytes)
    return Found(devices=() if device is None else (device,))


def _with_bandwidth(host: Host) -> Host:
    from localllm.probes.bandwidth import measure_bandwidth as measure_host

    unknown = {k: v for k, v in host.unknown.items() if k != "memory_bandwidth_gb_s"}
    try:
        measured = measure_host(host)
    except OSError as error:
        unknown["memory_bandwidth_gb_s"] = f"the measurement got no memory: {error.strerror}"
        return replace(host, unknown=unknown)
    threads = "1 thread" if measured.n_threads == 1 else f"{measured.n_threads} threads"
    return replace(
        host,
        memory_bandwidth_gb_s=round(measured.gb_s, 1),
        memory_bandwidth_basis=f"measured: sequential {measured.method}, {threads}",
        unknown=unknown,
    )


def _render_nodes_of_others(root: Path) -> list[Path]:
    """Return render nodes that are not NVIDIA's: those count through CUDA."""
    nodes = folders(root / "sys/class/drm", "renderD*")
    known = {display.pci_id for display in displays(root, NVIDIA)}
    return [node for node in nodes if (node / "device").resolve().name not in known]
