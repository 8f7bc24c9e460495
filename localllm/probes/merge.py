"""One list of devices from two views: what the probes found and what llama.cpp enumerates.

Devices are matched by PCI address, never by index. llama.cpp's order and names win; NVML's and
sysfs's figures win, because they are read without a context on the GPU; llama.cpp's fill the gaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from localllm.core.hardware import Backend, Device
from localllm.probes.visible import CUDA_VARIABLE, cuda_visibility, variable_for
from localllm.system.pci import normal_pci_id

if TYPE_CHECKING:
    from localllm.core.generation import EngineDevice

_BACKENDS: tuple[tuple[str, Backend], ...] = (
    # ggml_backend_dev_name of each backend, with a number behind it.
    ("CUDA", "cuda"),
    ("ROCm", "rocm"),
    ("MTL", "metal"),
    ("Metal", "metal"),
    ("Vulkan", "vulkan"),
    ("RPC", "rpc"),
)

_MAKERS_BACKEND: dict[str, tuple[Backend, str]] = {
    # By the probe's own name of a device: the backend to expect, and how to ask for it.
    "nvidia": ("cuda", "cuda"),
    "amd": ("rocm", "rocm or vulkan"),
    "apple": ("metal", "metal"),
}


def backend_of(engine_name: str) -> Backend:
    """Return the backend of a device by llama.cpp's name for it: ``CUDA0`` is ``cuda``."""
    return next((b for prefix, b in _BACKENDS if engine_name.startswith(prefix)), "other")


def merge(
    found: Sequence[Device],
    engine_devices: Sequence[EngineDevice] | None,
    env: Mapping[str, str],
) -> tuple[tuple[Device, ...], tuple[str, ...]]:
    """Return all devices, llama.cpp's first and in its order, and notes about the others.

    With ``engine_devices`` None llama.cpp was not asked: every device is taken to be usable under
    its maker's backend unless a variable hides it, and a note says that this is an assumption.
    """
    if engine_devices is None:
        return _assume(found, env)
    accelerators = _without_doubles([d for d in engine_devices if d.type in ("gpu", "igpu")])
    matches = _match(found, accelerators)
    merged = []
    for number, engine in enumerate(accelerators):
        index = matches.get(number)
        shared = index is not None and list(matches.values()).count(index) > 1
        merged.append(_join(None if index is None else found[index], engine, shared=shared))
    left = [device for i, device in enumerate(found) if i not in matches.values()]
    others, notes = _explain(left, found, accelerators, env)
    return (*merged, *others), notes


def _without_doubles(devices: list[EngineDevice]) -> list[EngineDevice]:
    """Drop a second backend's view of a card (Vulkan beside CUDA), as llama.cpp does.

    llama.cpp compares the whole id, so virtual devices of one card (``-v1``) are kept apart.
    """
    kept: list[EngineDevice] = []
    seen: set[str] = set()
    for device in devices:
        identity = (device.device_id or "").lower()
        if identity and identity in seen:
            continue
        seen.add(identity)
        kept.append(device)
    return kept


def _match(found: Sequence[Device], engine: Sequence[EngineDevice]) -> dict[int, int]:
    """Return the index in ``found`` for each index in ``engine`` that has one."""
    matches: dict[int, int] = {}
    for number, device in enumerate(engine):
        address = normal_pci_id(device.device_id)
        here = [i for i, d in enumerate(found) if address is not None and d.pci_id == address]
        slices = [i for i in here if found[i].mig not in (None, "enabled")]
        if slices:
            # CUDA gives a slice the address of its card: memory tells the slices apart.
            here = sorted(
                (i for i in slices if i not in matches.values()),
                key=lambda i: abs((found[i].total_bytes or 0) - device.total_bytes),
            )
        if here:
            matches[number] = here[0]
    # Without an address (Metal, old backends) a device pairs with the only one of its maker left.
    for number, device in enumerate(engine):
        if number in matches or normal_pci_id(device.device_id) is not None:
            continue
        backend = backend_of(device.name)
        candidates = [
            i
            for i, d in enumerate(found)
            if i not in matches.values()
            and d.visible
            and (_expected(d)[0] == backend or d.description == device.description)
        ]
        same_name = [i for i in candidates if found[i].description == device.description]
        if len(candidates) == 1 or len(same_name) == 1:
            matches[number] = (same_name or candidates)[0]
    return matches


def _join(device: Device | None, engine: EngineDevice, *, shared: bool) -> Device:
    """Return one device from both views; ``shared``: several of llama.cpp's lie on this card."""
    backend = backend_of(engine.name)
    if device is None:
        return Device(
            name=engine.name,
            description=engine.description,
            kind="igpu" if engine.type == "igpu" else "gpu",
            backend=backend,
            total_bytes=engine.total_bytes,
            free_bytes=engine.free_bytes,
            unified=engine.type == "igpu" or backend == "metal",
            pci_id=normal_pci_id(engine.device_id),
            unknown={
                key: "known to llama.cpp only"
                for key in ("uuid", "driver", "memory_bandwidth_gb_s", "power_limit_w")
            },
        )
    unknown = dict(device.unknown)
    total, free, reserved = device.total_bytes, device.free_bytes, device.reserved_bytes
    if backend == "metal" or shared or total is None or free is None:
        # Metal alone knows its working set; virtual devices divide a card's memory.
        total, free, reserved = engine.total_bytes, engine.free_bytes, None
        for key in ("total_bytes", "free_bytes"):
            unknown.pop(key, None)
        unknown["reserved_bytes"] = "llama.cpp's own figures, which leave it out"
    elif device.unified:
        # The backend decides how much of the host's memory it may take; what is free is shared.
        total, free = engine.total_bytes, min(engine.free_bytes, free)
    return replace(
        device,
        name=engine.name,
        kind="igpu" if engine.type == "igpu" else "gpu",
        backend=backend,
        total_bytes=total,
        free_bytes=free,
        reserved_bytes=reserved,
        visible=True,
        unknown=unknown,
    )


def _explain(
    left: Sequence[Device],
    found: Sequence[Device],
    engine: Sequence[EngineDevice],
    env: Mapping[str, str],
) -> tuple[list[Device], tuple[str, ...]]:
    """Return devices that llama.cpp does not list, each with the reason in a note."""
    backends = {backend_of(device.name) for device in engine} - {"rpc"}
    hidden_by = _hidden_by(found, env)
    devices, notes = [], []
    missing: dict[str, list[str]] = {}
    for device in left:
        backend, build = _expected(device)
        # What the makers' backend does not list although it is there, its variable has hidden.
        obeyed = next((b for b in (backend, "vulkan") if b in backends), None)
        variable = hidden_by.get(device.name) or (obeyed and variable_for(obeyed, env))
        if not device.visible or device.mig == "enabled":
            devices.append(replace(device, backend="none", visible=False))
        elif variable is not None:
            devices.append(replace(device, backend="none", visible=False))
            notes.append(f"{device.description} is hidden by {variable}")
        elif device.mig is not None:
            devices.append(replace(device, backend="none", visible=False))
        elif backend in backends:
            devices.append(replace(device, backend="none"))
            notes.append(
                f"llama.cpp's {backend} backend does not list {device.description} "
                f"({device.pci_id}): it may be too old for this build"
            )
        else:
            devices.append(replace(device, backend="none"))
            if device.kind == "igpu" and backends:
                continue  # llama.cpp itself leaves these out beside a GPU
            missing.setdefault(build, []).append(device.description)
    for build, names in missing.items():
        has = f"for {', '.join(sorted(backends))} only" if backends else "for the CPU only"
        notes.append(
            f"llama.cpp was built {has}, so {', '.join(names)} is not used: "
            f"run LOCALLLM_BACKEND={build.split(' ')[0]} ./scripts/localllm doctor"
        )
    return devices, tuple(notes)


def _assume(
    found: Sequence[Device], env: Mapping[str, str]
) -> tuple[tuple[Device, ...], tuple[str, ...]]:
    hidden_by = _hidden_by(found, env)
    nvidia = [device for device in found if device.name.startswith("nvidia")]
    unclear = [
        device.name
        for device, state in zip(nvidia, cuda_visibility(env, nvidia), strict=True)
        if state == "unclear"
    ]
    devices, notes = [], []
    for device in found:
        variable = hidden_by.get(device.name)
        if not device.visible or device.mig == "enabled":
            devices.append(replace(device, backend="none", visible=False))
        elif variable is not None:
            devices.append(replace(device, backend="none", visible=False))
            notes.append(f"{device.description} is hidden by {variable}")
        else:
            devices.append(replace(device, backend=_expected(device)[0]))
    if unclear:
        notes.append(
            f"{CUDA_VARIABLE}={env[CUDA_VARIABLE]} hides some of the NVIDIA GPUs; which ones shows "
            "when llama.cpp is asked"
        )
    if any(device.backend != "none" for device in devices):
        notes.append("llama.cpp was not asked which devices it can use: all are assumed usable")
    return tuple(devices), tuple(notes)


def _hidden_by(found: Sequence[Device], env: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that hides each device, by the probe's name of the device."""
    nvidia = [device for device in found if device.name.startswith("nvidia")]
    value = f"{CUDA_VARIABLE}={env.get(CUDA_VARIABLE, '')}"
    return {
        device.name: value
        for device, state in zip(nvidia, cuda_visibility(env, nvidia), strict=True)
        if state == "hidden"
    }


def _expected(device: Device) -> tuple[Backend, str]:
    maker = device.name.rstrip("0123456789.")
    return _MAKERS_BACKEND.get(maker, ("other", "vulkan"))
