"""A machine in a line or two: its GPUs, its memory, what feeds it and what measures its power."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

from localllm.core.hardware import Device, Hardware
from localllm.core.metered.meters import SeenMeters
from localllm.core.text import printable
from localllm.words.hardware import device_lines, ram_lines

_BATTERY = "battery"
_LAPTOP = "whole laptop"


def memory_parts(hardware: Hardware) -> Iterator[str]:
    """Yield every GPU with what is free of its memory, then the RAM.

    GPUs of a kind with the same memory are one part: ``2x NVIDIA A100: 79.1 of 80.0 GiB free``.
    """
    for text, n in Counter(map(_gpu, hardware.devices)).items():
        yield text if n == 1 else f"{n}x {text} each"
    if not hardware.devices:
        yield f"no GPU, {printable(hardware.host.cpu)}"
    yield f"RAM {next(ram_lines(hardware.host)).text}"


def power_parts(meters: SeenMeters) -> Iterator[str]:
    """Yield what feeds the machine, where a battery tells, and which meter there is for what."""
    laptop = next((each for each in meters.missing if each.scope == _LAPTOP), None)
    if any(seen.source.name == _BATTERY for seen in meters.meters):
        yield "on battery"
    elif laptop is not None:
        yield laptop.reason
    known = [f"{seen.source.scope} by {seen.source.name}" for seen in meters.meters]
    if known:
        yield f"power: {', '.join(dict.fromkeys(known))}"
        return
    absent = next((each for each in meters.missing if each is not laptop), None)
    why = "" if absent is None else f" ({absent.label}: {absent.reason})"
    yield printable(f"no power meter{why}")


def _gpu(device: Device) -> str:
    product, memory = (line.pieces for line in islice(device_lines(device), 2))
    unusable = product[-1][0] if not device.visible or device.backend == "none" else None
    words = f"{product[0][0]}: {''.join(text for text, _ in memory)}"
    return words if unusable is None else f"{words}, {unusable}"
