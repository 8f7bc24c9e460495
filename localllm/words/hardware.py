"""A machine in words: its GPUs, CPU and memory, its meters, and what could not be read and why.

Sections of lines; how a line, its tone and its bar look is each shell's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from localllm.core.calibration import Observation, Phase, typical_ratio
from localllm.core.hardware import Device, Hardware, Host
from localllm.core.metered.meters import KIND_WORDS, SeenMeters
from localllm.core.metered.readings import Source
from localllm.core.text import printable
from localllm.units import counted, format_bytes

Tone = Literal["plain", "strong", "muted", "good", "warn", "bad"]
"""What a piece of text is meant as; the words say it too."""

Piece = tuple[str, Tone]

_WORDS = {
    "total_bytes": "total memory",
    "free_bytes": "free memory",
    "reserved_bytes": "reserved memory",
    "memory_bandwidth_gb_s": "memory bandwidth",
    "power_limit_w": "power limit",
    "n_multiprocessors": "multiprocessors",
}
"""Fields whose names are not what a person would call them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line, after a bar of what is used where there is one."""

    pieces: tuple[Piece, ...]
    used: tuple[int, int] | None = None
    """Bytes in use, and of how many."""

    @property
    def text(self) -> str:
        """The words alone."""
        return "".join(text for text, _ in self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Some lines about one thing."""

    label: str
    """``CUDA0``, ``CPU``, ``RAM``, ``Power`` ..."""
    lines: tuple[Line, ...]
    device: str | None = None
    """The name of the device that it is about, if it is one."""


def title(hardware: Hardware) -> tuple[Piece, ...]:
    """Return what a machine is called, and where it comes from where the name does not say."""
    source = "" if hardware.source == hardware.name else f"  ({printable(hardware.source)})"
    return (printable(hardware.name), "strong"), (source, "muted")


def sections(
    hardware: Hardware,
    observations: Sequence[Observation] = (),
    meters: SeenMeters | None = None,
) -> Iterator[Section]:
    """Yield everything known of a machine; nothing is yielded that has no line.

    ``observations``: own measurements, for what they say of the speed estimates.
    """
    for device in hardware.devices:
        yield _section(printable(device.name), device_lines(device), device=device.name)
    if not hardware.devices:
        yield _section("GPU", [_line("none", "muted")])
    yield _section("CPU", cpu_lines(hardware.host))
    yield _section("RAM", ram_lines(hardware.host))
    for label, lines in (
        ("Speed", measured_lines(observations)),
        ("Power", iter(()) if meters is None else meter_lines(meters)),
        ("Notes", (_line(note) for note in hardware.notes)),
    ):
        section = _section(label, lines)
        if section.lines:
            yield section


def device_lines(device: Device) -> Iterator[Line]:
    """Yield what a GPU is, its memory, its speed, its identity, and what is not known of it."""
    usable = device.visible and device.backend != "none"
    how: Piece = (f"llama.cpp: {device.backend}", "good") if usable else _unusable(device)
    yield Line(pieces=((printable(device.description), "strong"), ("  ", "plain"), how))
    yield _memory_line(device)
    for facts in (_speed_facts(device), _identity_facts(device)):
        line = ", ".join(facts)
        if line:
            yield _line(line)
    yield from unknown_lines(device.unknown)


def cpu_lines(host: Host) -> Iterator[Line]:
    """Yield the processor, its cores as llama.cpp uses them, and its instruction sets."""
    yield _line(host.cpu, "strong")
    yield _line(", ".join(_core_facts(host)))
    if host.isa:
        yield _line(" ".join(host.isa))


def ram_lines(host: Host) -> Iterator[Line]:
    """Yield the memory, what limits it, its bandwidth with its basis, swap, what is not known."""
    available, total = format_bytes(host.available_bytes), format_bytes(host.total_bytes)
    yield Line(
        pieces=((f"{available} of {total} available", "plain"),),
        used=(host.total_bytes - host.available_bytes, host.total_bytes),
    )
    if host.memory_limit is not None:
        yield _line(f"limited by {host.memory_limit}", "warn")
    if host.memory_bandwidth_gb_s is not None:
        basis = f" ({host.memory_bandwidth_basis})" if host.memory_bandwidth_basis else ""
        yield _line(f"{host.memory_bandwidth_gb_s:,.1f} GB/s{basis}")
    if host.swap_total_bytes:
        free, total = format_bytes(host.swap_free_bytes), format_bytes(host.swap_total_bytes)
        yield _line(f"swap: {free} of {total} free")
    else:
        yield _line("no swap")
    yield from unknown_lines(host.unknown)


def measured_lines(observations: Sequence[Observation]) -> Iterator[Line]:
    """Yield how many measurements are kept, and what they say of the estimates."""
    if not observations:
        return
    phases: tuple[tuple[Phase, str], ...] = (("tg", "decode"), ("pp", "prompt"))
    ratios = [(word, typical_ratio(observations, phase)) for phase, word in phases]
    parts = [f"{word} {ratio:.2f}x the estimate" for word, ratio in ratios if ratio is not None]
    yield _line(", ".join((f"{counted(len(observations), 'measurement')} kept", *parts)))


def meter_lines(meters: SeenMeters) -> Iterator[Line]:
    """Yield every meter with its scope, kind and source, and why there is none for the rest."""
    for seen in meters.meters:
        watts = "" if seen.watts is None else f"{seen.watts:.1f} W, "
        source = seen.source
        yield _line(f"{source.scope} {source.device}: {watts}{meter_words(source)}")
        if source.note is not None:
            yield _line(source.note, "muted")
    if not meters.meters:
        yield _line("no meter", "muted")
    for absent in meters.missing:
        yield _line(f"{absent.label}: {absent.reason}", "muted")
    if any(absent.fix is not None for absent in meters.missing):
        yield _line("localllm doctor prints the line that enables it", "muted")


def meter_words(source: Source) -> str:
    """Return how a meter tells and which it is: ``average over 1 s (amdgpu hwmon)``."""
    over = f" over {source.window_s:g} s" if source.window_s else ""
    return f"{KIND_WORDS[source.kind]}{over} ({source.name})"


def unknown_lines(unknown: Mapping[str, str]) -> Iterator[Line]:
    """Yield what could not be read, grouped by why."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, reason in unknown.items():
        by_reason[reason].append(_WORDS.get(name, name.replace("_", " ")))
    for reason, names in by_reason.items():
        yield _line(f"not known: {', '.join(names)} ({reason})", "muted")


def _section(label: str, lines: Iterable[Line], *, device: str | None = None) -> Section:
    return Section(label=label, lines=tuple(lines), device=device)


def _line(text: str, tone: Tone = "plain") -> Line:
    return Line(pieces=((printable(text), tone),))


def _unusable(device: Device) -> Piece:
    if not device.visible:
        return ("hidden from llama.cpp", "warn")
    return ("not usable by this llama.cpp", "bad")


def _memory_line(device: Device) -> Line:
    total, free = device.total_bytes, device.free_bytes
    shared = ", shared with RAM" if device.unified else ""
    if total is None or free is None:
        known = f"{format_bytes(total)}, free: ?" if total is not None else "memory: ?"
        return _line(f"{known}{shared}")
    caption = f"{format_bytes(free)} of {format_bytes(total)} free{shared}"
    return Line(pieces=((caption, "plain"),), used=(total - free, total))


def _speed_facts(device: Device) -> Iterator[str]:
    if device.memory_bandwidth_gb_s is not None:
        basis = f" ({device.memory_bandwidth_basis})" if device.memory_bandwidth_basis else ""
        yield f"{device.memory_bandwidth_gb_s:,.0f} GB/s{basis}"
    now = _link(device.pcie_gen, device.pcie_width)
    most = _link(device.pcie_gen_max, device.pcie_width_max)
    if now and most and now != most:
        yield f"PCIe {now} now, {most} at most"
    elif now or most:
        yield f"PCIe {now or most}"
    if device.power_limit_w is not None:
        yield f"limit {device.power_limit_w:.0f} W"
    if device.reserved_bytes:
        yield f"{format_bytes(device.reserved_bytes)} reserved by the driver"


def _identity_facts(device: Device) -> Iterator[str]:
    if device.compute_capability is not None:
        yield "compute capability {}.{}".format(*device.compute_capability)
    if device.arch is not None:
        yield device.arch
    if device.n_multiprocessors is not None:
        yield f"{device.n_multiprocessors} multiprocessors"
    if device.mig is not None:
        yield f"MIG {device.mig}"
    if device.driver is not None:
        cuda = f" (CUDA {device.cuda_version})" if device.cuda_version else ""
        yield f"driver {device.driver}{cuda}"
    if device.pci_id is not None:
        yield f"PCI {device.pci_id}"


def _link(gen: int | None, width: int | None) -> str:
    parts = [f"gen {gen}"] if gen is not None else []
    return " ".join([*parts, f"x{width}"] if width is not None else parts)


def _core_facts(host: Host) -> Iterator[str]:
    if host.n_cores_physical is not None:
        yield counted(host.n_cores_physical, "core")
        if host.n_cores_performance not in (None, host.n_cores_physical):
            yield f"{host.n_cores_performance} of them performance cores"
    yield counted(host.n_threads_logical, "thread")
    if host.cpu_quota is not None:
        yield f"limited to {host.cpu_quota:g} CPUs"
    if host.n_numa_nodes > 1:
        yield f"{host.n_numa_nodes} NUMA nodes"
    yield f"llama.cpp decodes with {host.n_threads_default}"
