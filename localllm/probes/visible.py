"""``CUDA_VISIBLE_DEVICES`` and its kin: which GPUs a variable hides from llama.cpp.

Only said where llama.cpp was not asked or does not show a device: what it enumerates is the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from localllm.core.hardware import Device

Visibility = Literal["visible", "hidden", "unclear"]

CUDA_VARIABLE = "CUDA_VISIBLE_DEVICES"
_VARIABLES = {
    # What each of llama.cpp's backends obeys; HIP reads CUDA's variable as its own.
    "cuda": (CUDA_VARIABLE,),
    "rocm": ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", CUDA_VARIABLE),
    "vulkan": ("GGML_VK_VISIBLE_DEVICES",),
}


def cuda_visibility(env: Mapping[str, str], gpus: Sequence[Device]) -> list[Visibility]:
    """Return, for each NVIDIA GPU in NVML's order, whether CUDA may use it under ``env``.

    Entries are numbers, UUIDs that may be cut short, and names of MIG slices; the first that names
    nothing ends the list (CUDA Programming Guide, "CUDA Environment Variables"). Numbers count in
    CUDA's order, which is NVML's only with ``CUDA_DEVICE_ORDER=PCI_BUS_ID``: by default the fastest
    comes first, so among unlike GPUs a number is ``unclear``.
    """
    text = env.get(CUDA_VARIABLE)
    if text is None:
        return ["visible"] * len(gpus)
    cards = [index for index, gpu in enumerate(gpus) if _is_card(gpu)]
    alike = len({gpus[index].description for index in cards}) <= 1
    in_our_order = alike or env.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    shown: set[int] = set()
    numbers: set[int] = set()
    for entry in (part.strip() for part in text.split(",")):
        if entry.isdecimal():
            if int(entry) >= len(cards):
                break
            numbers.add(int(entry))
        elif (named := _named(entry, gpus)) is not None:
            shown.add(_usable(named, gpus))
        else:
            break
    rest: Visibility = "hidden"
    if in_our_order or len(numbers) == len(cards):
        shown |= {_usable(cards[number], gpus) for number in numbers}
    elif numbers:
        rest = "unclear"
    return ["visible" if index in shown else rest for index in range(len(gpus))]


def hides_all_cuda(env: Mapping[str, str]) -> bool:
    """Return True when ``CUDA_VISIBLE_DEVICES`` starts with what is no device: ``""``, ``-1``."""
    text = env.get(CUDA_VARIABLE)
    if text is None:
        return False
    first = text.split(",")[0].strip()
    return not (first.isdecimal() or first.startswith(("GPU-", "MIG-")))


def variable_for(backend: str, env: Mapping[str, str]) -> str | None:
    """Return the variable that is set to hide devices from a backend (``NAME=value``), or None."""
    names = _VARIABLES.get(backend, ())
    return next((f"{name}={env[name]}" for name in names if name in env), None)


def _is_card(gpu: Device) -> bool:
    return gpu.mig is None or gpu.mig == "enabled"


def _named(entry: str, gpus: Sequence[Device]) -> int | None:
    """Return the one GPU or slice whose UUID begins with ``entry``."""
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    if entry.startswith("MIG-GPU-"):
        # Drivers before 470 name a slice by its card, instance and compute instance.
        card = entry.removeprefix("MIG-").partition("/")[0]
        slices = [
            i
            for i, gpu in enumerate(gpus)
            if not _is_card(gpu) and (gpu.uuid or "").startswith((entry, "MIG-" + card))
        ]
        return slices[0] if slices else None
    matches = [i for i, gpu in enumerate(gpus) if gpu.uuid and gpu.uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None


def _usable(index: int, gpus: Sequence[Device]) -> int:
    """Return the device itself, or the first slice of a card that MIG divides."""
    card = gpus[index]
    if card.mig != "enabled":
        return index
    slices = (i for i, gpu in enumerate(gpus) if not _is_card(gpu) and gpu.pci_id == card.pci_id)
    return next(slices, index)
