"""The processor and memory that a public row tells of, as a host of the core."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from _fit.names import FACTS, hardware
from localllm.core.hardware import Host

_WORDS = {"single": 1, "dual": 2, "quad": 4, "hexa": 6, "six": 6, "octa": 8, "eight": 8}
_MEMORY = re.compile(r"(lp)?ddr([345])(x?)(?:[- @]*(\d{4,5}))?", re.IGNORECASE)


def read_host(told: str) -> dict[str, Any] | None:
    """Return what a text says of a machine: profile, cpu, cores, memory, gb_s, channels, sockets.

    None where it says nothing that matters to speed.
    """
    entry, cores = _known_cpu(told)
    memory = _MEMORY.search(told)
    gb_s = re.search(r"~?(\d+(?:\.\d+)?)\s*GB/s", told, re.IGNORECASE)
    if entry is None and memory is None and gb_s is None:
        return None
    host: dict[str, Any] = {"cpu": re.split(r"[,(@]", _plain(told))[0].strip()[:60]}
    sockets = re.match(r"\s*(\d)\s*x\s+", told)
    n_sockets = int(sockets[1]) if sockets else 1
    if n_sockets > 1:
        host["sockets"] = n_sockets
    base = entry or {"profile": "desktop-ddr5" if memory and memory[2] == "5" else "desktop-ddr4"}
    host["profile"] = base["profile"]
    named = re.search(r"\b(\d{1,3})\s*(?:c|cores?)\b", told)
    if named or cores:
        host["cores"] = (int(named[1]) if named else cores or 0) * n_sockets
    for key in ("performance", "threads", "machine"):
        if key in base:
            host[key] = base[key]
    host.update(_memory_of(told, memory, base, n_sockets))
    if gb_s is not None:
        host["gb_s"] = float(gb_s[1])
    if "avx2" in told.lower():
        host["avx512"] = False
    return host


def host_in_passing(told: str) -> dict[str, Any] | None:
    """Return the host where a text happens to name a processor that we know, as a source may."""
    return read_host(re.sub(r".*?/", "", told)) if _known_cpu(told)[0] else None


def _known_cpu(told: str) -> tuple[Mapping[str, Any] | None, int | None]:
    plain = _plain(told).lower()
    for entry in _cpus():
        if re.search(entry["pattern"], plain):
            cores = next((n for word, n in entry.get("cores", {}).items() if word in plain), None)
            return entry, cores
    return None, None


def _memory_of(
    told: str, memory: re.Match[str] | None, base: Mapping[str, Any], n_sockets: int
) -> dict[str, Any]:
    """Channels and kind of memory: what is told, else what the processor has."""
    channels = _channels(told) or base.get("channels")
    kind = base.get("memory")
    if memory is not None:
        runs = re.search(r"runs (?:at )?(\d{4})", told)
        rate = runs[1] if runs else memory[4]
        generation = f"{(memory[1] or '').upper()}DDR{memory[2]}{memory[3].upper()}"
        if rate:
            kind = f"{generation}-{rate}"
        elif kind is None or not str(kind).startswith(generation):
            kind = f"{generation}-{'5600' if memory[2] == '5' else '3200'}"
    if kind is None:
        return {}
    channels = int(channels or 2)
    return {
        "memory": kind,
        "channels": channels * n_sockets,
        "gb_s": round(channels * n_sockets * int(str(kind).rpartition("-")[2]) * 8 / 1000, 1),
    }


def _channels(told: str) -> int | None:
    counted = re.search(r"\b(\d{1,2})\s*(?:x|×)\s*(?:\d+\s*GB\s*)?ddr", told, re.IGNORECASE)
    counted = counted or re.search(r"\b(\d{1,2})[- ]?ch(?:annels?)?\b", told, re.IGNORECASE)
    if counted is not None:
        return int(counted[1])
    word = re.search(rf"\b({'|'.join(_WORDS)})\b", told, re.IGNORECASE)
    return _WORDS[word[1].lower()] if word else None


def host_of(record: Mapping[str, Any] | None, otherwise: Host) -> Host:
    """Return the host of a fact: what is told of it, on top of its profile; else another."""
    if record is None:
        return otherwise
    base = hardware(str(record["profile"])).host
    cores = int(record.get("cores") or base.n_cores_physical or 1)
    threads = int(record.get("threads") or 2 * cores)
    if record.get("machine") == "arm64":
        threads = cores
    isa = base.isa
    if record.get("machine") == "arm64":
        isa = ("neon", "fp16", "dotprod", "i8mm", "bf16")
    elif record.get("avx512") is False:
        isa = tuple(each for each in isa if not each.startswith("avx512"))
    return replace(
        base,
        cpu=str(record.get("cpu", base.cpu)),
        machine=str(record.get("machine", base.machine)),
        n_cores_physical=cores,
        n_cores_performance=int(record.get("performance") or cores),
        n_threads_logical=threads,
        isa=isa,
        n_numa_nodes=int(record.get("sockets", 1)),
        memory_bandwidth_gb_s=float(record.get("gb_s") or base.memory_bandwidth_gb_s or 50.0),
        memory_bandwidth_basis="the row, or its processor's platform",
        memory_type=str(record.get("memory") or base.memory_type),
        n_memory_channels=int(record.get("channels") or base.n_memory_channels or 2),
        # what such a machine holds is not told: enough for the model that ran on it
        total_bytes=max(base.total_bytes, 1 << 40),
        available_bytes=max(base.available_bytes, 1 << 40),
    )


def _plain(told: str) -> str:
    return re.sub(r"\(r\)|\(tm\)|®|™", "", told, flags=re.IGNORECASE)


@cache
def _cpus() -> tuple[dict[str, Any], ...]:
    read = tomllib.loads((FACTS / "cpus.toml").read_text(encoding="utf-8"))
    return tuple(read["cpus"])
