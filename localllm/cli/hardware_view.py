"""A machine as a person reads it: its GPUs, CPU and memory, and what could not be read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from localllm.cli import draw
from localllm.cli.output import unicode_output
from localllm.core.calibration import Observation, Phase, typical_ratio
from localllm.core.hardware import Device, Hardware, Host
from localllm.core.metered.meters import KIND_WORDS, SeenMeters
from localllm.core.text import printable
from localllm.units import format_bytes
from localllm.words import memory_sum

_DIM = "dim"
_WORDS = {
    "total_bytes": "total memory",
    "free_bytes": "free memory",
    "reserved_bytes": "reserved memory",
    "memory_bandwidth_gb_s": "memory bandwidth",
    "power_limit_w": "power limit",
    "n_multiprocessors": "multiprocessors",
}
"""Fields whose names are not what a person would call them."""


def print_hardware(
    console: Console,
    hardware: Hardware,
    observations: Sequence[Observation] = (),
    meters: SeenMeters | None = None,
) -> None:
    """Print one machine, what own measurements say of the speed estimates for it, its meters."""
    unicode = unicode_output()
    source = "" if hardware.source == hardware.name else f"  ({printable(hardware.source)})"
    console.print(Text.assemble((printable(hardware.name), "bold"), (source, _DIM)))
    console.print()
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    width = max(min(console.width - 56, 48), 16)
    for device in hardware.devices:
        _add(table, printable(device.name), _device_lines(device, width=width, unicode=unicode))
    if not hardware.devices:
        _add(table, "GPU", iter([Text("none", style=_DIM)]))
    _add(table, "CPU", _cpu_lines(hardware.host))
    _add(table, "RAM", _ram_lines(hardware.host, width=width, unicode=unicode))
    _add(table, "Speed", _measured_lines(observations))
    _add(table, "Power", iter(()) if meters is None else _meter_lines(meters))
    _add(table, "Notes", (Text(printable(note)) for note in hardware.notes))
    console.print(table)


def _add(table: Table, label: str, lines: Iterator[Text]) -> None:
    """Add labelled lines, and an empty one before them unless they are the first."""
    for index, line in enumerate(lines):
        if index == 0 and table.row_count:
            table.add_row()
        table.add_row(label if index == 0 else "", line)


def _device_lines(device: Device, *, width: int, unicode: bool) -> Iterator[Text]:
    usable = device.visible and device.backend != "none"
    yield Text.assemble(
        (printable(device.description), "bold"),
        "  ",
        (f"llama.cpp: {device.backend}", "green") if usable else _unusable(device),
    )
    yield _memory_line(device, width=width, unicode=unicode)
    for facts in (_speed_facts(device), _identity_facts(device)):
        line = ", ".join(facts)
        if line:
            yield Text(printable(line))
    yield from _unknown_lines(device.unknown)


def _unusable(device: Device) -> tuple[str, str]:
    if not device.visible:
        return ("hidden from llama.cpp", "yellow")
    return ("not usable by this llama.cpp", "red")


def _memory_line(device: Device, *, width: int, unicode: bool) -> Text:
    total, free = device.total_bytes, device.free_bytes
    shared = ", shared with RAM" if device.unified else ""
    if total is None or free is None:
        known = f"{format_bytes(total)}, free: ?" if total is not None else "memory: ?"
        return Text(f"{known}{shared}")
    caption = f"  {format_bytes(free)} of {format_bytes(total)} free{shared}"
    return _usage_bar(total - free, total, width=width, unicode=unicode).append(caption)


def _usage_bar(used: int, total: int, *, width: int, unicode: bool) -> Text:
    parts = [(memory_sum.MODEL, used), (memory_sum.SPARE, total - used)]
    return draw.bar(parts, total=total, width=width, unicode=unicode)


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


def _cpu_lines(host: Host) -> Iterator[Text]:
    yield Text(printable(host.cpu), style="bold")
    yield Text(", ".join(_core_facts(host)))
    if host.isa:
        yield Text(printable(" ".join(host.isa)))


def _core_facts(host: Host) -> Iterator[str]:
    if host.n_cores_physical is not None:
        yield _count(host.n_cores_physical, "core")
        if host.n_cores_performance not in (None, host.n_cores_physical):
            yield f"{host.n_cores_performance} of them performance cores"
    yield _count(host.n_threads_logical, "thread")
    if host.cpu_quota is not None:
        yield f"limited to {host.cpu_quota:g} CPUs"
    if host.n_numa_nodes > 1:
        yield f"{host.n_numa_nodes} NUMA nodes"
    yield f"llama.cpp decodes with {host.n_threads_default}"


def _ram_lines(host: Host, *, width: int, unicode: bool) -> Iterator[Text]:
    used = host.total_bytes - host.available_bytes
    caption = (
        f"  {format_bytes(host.available_bytes)} of {format_bytes(host.total_bytes)} available"
    )
    yield _usage_bar(used, host.total_bytes, width=width, unicode=unicode).append(caption)
    if host.memory_limit is not None:
        yield Text(f"limited by {printable(host.memory_limit)}", style="yellow")
    if host.memory_bandwidth_gb_s is not None:
        basis = f" ({host.memory_bandwidth_basis})" if host.memory_bandwidth_basis else ""
        yield Text(f"{host.memory_bandwidth_gb_s:,.1f} GB/s{printable(basis)}")
    if host.swap_total_bytes:
        free, total = format_bytes(host.swap_free_bytes), format_bytes(host.swap_total_bytes)
        yield Text(f"swap: {free} of {total} free")
    else:
        yield Text("no swap")
    yield from _unknown_lines(host.unknown)


def _measured_lines(observations: Sequence[Observation]) -> Iterator[Text]:
    if not observations:
        return
    phases: tuple[tuple[Phase, str], ...] = (("tg", "decode"), ("pp", "prompt"))
    ratios = [(word, typical_ratio(observations, phase)) for phase, word in phases]
    parts = [f"{word} {ratio:.2f}x the estimate" for word, ratio in ratios if ratio is not None]
    yield Text(", ".join((f"{_count(len(observations), 'measurement')} kept", *parts)))


def _meter_lines(meters: SeenMeters) -> Iterator[Text]:
    for seen in meters.meters:
        source = seen.source
        kind = KIND_WORDS[source.kind]
        kind += f" over {source.window_s:g} s" if source.window_s else ""
        watts = "" if seen.watts is None else f"{seen.watts:.1f} W, "
        line = f"{source.scope} {source.device}: {watts}{kind} ({source.name})"
        yield Text(printable(line))
        if source.note is not None:
            yield Text(printable(source.note), style=_DIM)
    if not meters.meters:
        yield Text("no meter", style=_DIM)
    for absent in meters.missing:
        yield Text(printable(f"{absent.label}: {absent.reason}"), style=_DIM)
    if any(absent.fix is not None for absent in meters.missing):
        yield Text("localllm doctor prints the line that enables it", style=_DIM)


def _unknown_lines(unknown: Mapping[str, str]) -> Iterator[Text]:
    """Yield what could not be read, grouped by why."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, reason in unknown.items():
        by_reason[reason].append(_WORDS.get(name, name.replace("_", " ")))
    for reason, names in by_reason.items():
        yield Text(printable(f"not known: {', '.join(names)} ({reason})"), style=_DIM)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
