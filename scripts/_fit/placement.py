"""Where a public row's layers lay: all on the GPUs, the last ones, or all but experts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from _fit.texts import Command, read_command, text, whole

ALL = -1
"""All layers on the GPUs, or the experts of all layers in RAM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """How a run was placed, by llama.cpp's flags."""

    n_gpu_layers: int = ALL
    n_cpu_moe: int = 0
    """Layers whose experts stay in RAM, counted from the first; ``ALL`` for all."""
    overrides: tuple[str, ...] = ()
    """``--override-tensor`` to the CPU: the patterns."""
    tensor_split: tuple[float, ...] = ()


def read_placement(row: Mapping[str, Any], command: Command, *, on_gpu: bool) -> Placed | str:
    """Return how a row's run was placed, or why that is not known."""
    if not on_gpu:
        return Placed(n_gpu_layers=0)
    offload = text(row, "offload")
    spoken = read_command(offload) if offload else Command(())
    n_gpu_layers = _n_gpu_layers(row, command, spoken, offload)
    n_cpu_moe = _n_cpu_moe(row, command, spoken, offload)
    overrides = _overrides(command) + _overrides(spoken)
    if "?" in overrides:
        return "tensors placed by patterns that say more than experts in RAM"
    partial = row.get("kind") in ("partial_offload", "unspecified")
    told = n_cpu_moe != 0 or overrides or "all on gpu" in offload.lower()
    if partial and n_gpu_layers is None and not told:
        return f"partly in RAM, and how is not told: {offload or 'nothing said'}"
    if offload and not told and n_gpu_layers is None:
        return f"an offload that is not told in layers: {offload}"
    split = command.value("-ts", "--tensor-split") or spoken.value("-ts", "--tensor-split") or ""
    shares = [float(part) for part in re.findall(r"\d+(?:\.\d+)?", split)]
    return Placed(
        n_gpu_layers=ALL if n_gpu_layers is None else n_gpu_layers,
        n_cpu_moe=n_cpu_moe,
        overrides=tuple(overrides),
        tensor_split=tuple(shares) if sum(shares) > 0 else (),
    )


def _n_gpu_layers(
    row: Mapping[str, Any], command: Command, spoken: Command, offload: str
) -> int | None:
    flags = ("-ngl", "--n-gpu-layers", "--gpu-layers")
    told = spoken.value(*flags) or command.value(*flags)
    if not told:
        layers = re.search(r"(\d+)(?:/\d+)? layers on (?:the )?gpu", offload, re.IGNORECASE)
        told = layers[1] if layers else text(row, "n_gpu_layers")
    if str(told).lower().startswith(("all", "auto")):
        return ALL
    read = whole(told)
    return None if read is None else ALL if read < 0 else read


def _n_cpu_moe(row: Mapping[str, Any], command: Command, spoken: Command, offload: str) -> int:
    for line in (spoken, command):
        told = whole(line.value("--n-cpu-moe", "-ncmoe"))
        if told is not None:
            return told
        if line.has("--cpu-moe", "-cmoe"):
            return ALL
    layers = re.search(r"(\d+) moe (?:layers|blocks) (?:in|on) (?:ram|cpu)", offload, re.IGNORECASE)
    if layers:
        return int(layers[1])
    if re.search(r"\ball (\d+ )?(moe blocks|experts)\b.*cpu", offload, re.IGNORECASE):
        return ALL
    return whole(row.get("n_cpu_moe")) or 0


def _overrides(command: Command) -> list[str]:
    """Patterns that put tensors in RAM; ``?`` where they go elsewhere."""
    found = []
    for value in command.values("-ot", "--override-tensor"):
        for part in value.split(","):
            pattern, _, place = part.rpartition("=")
            found.append(pattern if place.upper() == "CPU" and _compiles(pattern) else "?")
    return found


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True
