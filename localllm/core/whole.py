"""All wanted layers on GPUs: on which of them, where some hold the model and some decode faster."""

from __future__ import annotations

from localllm.core.groups import device_groups, read_speed
from localllm.core.hardware import Device
from localllm.core.partial import hopeless
from localllm.core.placing import Problem, place
from localllm.core.ranking import decode_s
from localllm.core.settings import Settings
from localllm.core.solution import Solution


def whole_on_gpus(problem: Problem, settings: Settings, *, n_gpu_layers: int) -> Solution | None:
    """Return the wanted layers on the fewest devices that hold them; None where none do.

    Equal cards decode no faster together. Of unlike ones a slow card that holds everything may
    lose to itself and a faster one that takes most layers: then more devices are tried.
    """
    devices = problem.hardware.usable_devices
    best: Solution | None = None
    for group in device_groups(devices, problem.policy):
        if best is not None and not _faster_left_out(devices, best.devices):
            break
        if best is not None and len(group) == len(best.devices):
            continue  # within a size the fastest that hold it come first
        here = problem.on(group)
        if hopeless(here, settings, n_gpu_layers=n_gpu_layers):
            continue
        found = place(here, settings, n_gpu_layers=n_gpu_layers)
        if not found.gpus_fit:
            continue
        if best is None or decode_s(problem, found) < decode_s(problem, best):
            best = found
    return best


def _faster_left_out(devices: tuple[Device, ...], used: tuple[Device, ...]) -> bool:
    """Whether a device that is not in use reads faster than one that is."""
    slowest = min(map(read_speed, used), default=0.0)
    return any(read_speed(device) > slowest for device in devices if device not in used)
