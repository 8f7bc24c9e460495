"""The processor under Linux, from ``/proc`` and ``/sys``: cores, instruction sets, NUMA nodes.

Counts are of what this process may use: cores outside its affinity mask do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from localllm.system.sysfiles import parse_cpu_list, read_int, read_text

_ISA_BY_FLAG = {
    # x86: what ggml-cpu selects kernels by (its cmake lists them as GGML_SSE42 ... GGML_AMX_BF16).
    "pni": "sse3",
    "ssse3": "ssse3",
    "sse4_2": "sse4_2",
    "avx": "avx",
    "f16c": "f16c",
    "fma": "fma",
    "bmi2": "bmi2",
    "avx2": "avx2",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512_vbmi": "avx512_vbmi",
    "avx512vbmi": "avx512_vbmi",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx_tile": "amx_tile",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
    # Arm: the kernel's names are not the architecture's.
    "neon": "neon",
    "asimd": "neon",
    "asimdhp": "fp16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
    "sme": "sme",
    "sme2": "sme2",
    # POWER, LoongArch, RISC-V, z/Architecture
    "vsx": "vsx",
    "lsx": "lsx",
    "lasx": "lasx",
    "rvv": "rvv",
    "vxe": "vxe",
    "vxe2": "vxe2",
}

_ARM_CORES = {
    # Main ID register: implementer, part. Arm Ltd. is 0x41.
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD85): "Cortex-X925",
    (0xC0, 0xAC3): "Ampere-1",
    (0xC0, 0xAC4): "Ampere-1A",
}

_PERFORMANCE_CAPACITY = 0.5
"""Cores of an Arm chip with at least this share of the largest ``cpu_capacity`` count as fast.
Small cores lie far below it (Cortex-A55 beside A78: about 0.3), middle ones above (GB10: 0.7)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """What the processor is and how much of it this process may use."""

    name: str
    n_cores_physical: int | None
    """Cores with at least one hardware thread in the affinity mask."""
    n_cores_performance: int | None
    n_threads_logical: int
    """Hardware threads in the affinity mask."""
    n_threads_online: int
    """Hardware threads of the machine."""
    isa: tuple[str, ...]
    n_numa_nodes: int
    unknown: dict[str, str] = field(default_factory=dict)


def linux_cpu(root: Path) -> Cpu:
    """Return the processor as ``/proc`` and ``/sys`` under ``root`` describe it."""
    cpuinfo = _cpuinfo(root)
    online = _online(root, cpuinfo)
    allowed = parse_cpu_list(_status_field(root, "Cpus_allowed_list")) & online or online
    cores = _cores(root, allowed, cpuinfo)
    fast = _performance_cpus(root, online)
    unknown: dict[str, str] = {}
    if cores is None:
        unknown["n_cores_physical"] = "no core topology in /sys or /proc/cpuinfo"
        unknown["n_cores_performance"] = unknown["n_cores_physical"]
    isa = _isa(cpuinfo)
    if not isa:
        unknown["isa"] = "no instruction set flags in /proc/cpuinfo"
    return Cpu(
        name=_name(root, cpuinfo),
        n_cores_physical=None if cores is None else len(set(cores.values())),
        n_cores_performance=None
        if cores is None
        else len({core for cpu, core in cores.items() if fast is None or cpu in fast})
        # A mask that holds slow cores only still has to run on something.
        or len(set(cores.values())),
        n_threads_logical=max(1, len(allowed)),
        n_threads_online=max(1, len(online)),
        isa=isa,
        n_numa_nodes=numa_nodes(root),
        unknown=unknown,
    )


def numa_nodes(root: Path) -> int:
    """Return the number of NUMA nodes that have both CPUs and memory, at least 1.

    Memory without CPUs (CXL, and the GPU's own memory on Grace Hopper) is not a node to run on.
    """
    nodes = root / "sys/devices/system/node"
    with_cpu = parse_cpu_list(read_text(nodes / "has_cpu"))
    with_memory = parse_cpu_list(read_text(nodes / "has_memory"))
    online = parse_cpu_list(read_text(nodes / "online"))
    return max(1, len(with_cpu & with_memory or with_cpu or online))


def _cpuinfo(root: Path) -> list[dict[str, str]]:
    """Return the blocks of ``/proc/cpuinfo``, one per logical CPU and perhaps one for the board."""
    blocks = []
    for text in (read_text(root / "proc/cpuinfo") or "").split("\n\n"):
        lines = (line.partition(":") for line in text.splitlines())
        block = {key.strip(): value.strip() for key, colon, value in lines if colon}
        if block:
            blocks.append(block)
    return blocks


def _online(root: Path, cpuinfo: list[dict[str, str]]) -> frozenset[int]:
    listed = parse_cpu_list(read_text(root / "sys/devices/system/cpu/online"))
    return listed or frozenset(
        int(block["processor"]) for block in cpuinfo if block.get("processor", "").isdecimal()
    )


def _status_field(root: Path, name: str) -> str | None:
    for line in (read_text(root / "proc/self/status") or "").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return None


def _cores(
    root: Path, cpus: frozenset[int], cpuinfo: list[dict[str, str]]
) -> dict[int, object] | None:
    """Return the physical core of each logical CPU, or None where nothing tells."""
    cores: dict[int, object] = {}
    for cpu in cpus:
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        siblings = parse_cpu_list(
            read_text(topology / "core_cpus_list") or read_text(topology / "thread_siblings_list")
        )
        if siblings:
            cores[cpu] = siblings
    if len(cores) == len(cpus) and cores:
        return cores
    by_id: dict[int, object] = {
        int(block["processor"]): (block.get("physical id"), block["core id"])
        for block in cpuinfo
        if "core id" in block and block.get("processor", "").isdecimal()
    }
    if cpus and cpus <= by_id.keys():
        return {cpu: by_id[cpu] for cpu in cpus}
    return None


def _performance_cpus(root: Path, online: frozenset[int]) -> frozenset[int] | None:
    """Return the logical CPUs that are fast ones on a hybrid chip, or None where all are alike."""
    devices = root / "sys/devices"
    # Intel hybrid: one perf event source per kind of core, each naming its CPUs.
    intel = parse_cpu_list(read_text(devices / "cpu_core/cpus"))
    if intel:
        return intel
    # Arm big.LITTLE: the scheduler's estimate of each core, 1024 for the fastest.
    capacity = {
        cpu: value
        for cpu in online
        if (value := read_int(devices / f"system/cpu/cpu{cpu}/cpu_capacity")) is not None
    }
    if not capacity or len(set(capacity.values())) == 1:
        return None
    least = max(capacity.values()) * _PERFORMANCE_CAPACITY
    return frozenset(cpu for cpu, value in capacity.items() if value >= least)


def _isa(cpuinfo: list[dict[str, str]]) -> tuple[str, ...]:
    """Return what every logical CPU supports: a hybrid Arm chip may differ between cores."""
    sets = [set(_flags(block)) for block in cpuinfo if any(_flags(block))]
    if not sets:
        return ()
    common = set.intersection(*sets)
    found = [isa for flag, isa in _ISA_BY_FLAG.items() if flag in common]
    return tuple(dict.fromkeys(found))


def _flags(block: dict[str, str]) -> Iterator[str]:
    for key in ("flags", "Features", "features"):
        yield from block.get(key, "").split()
    isa = block.get("isa", "")
    if isa.startswith("rv") and "v" in isa.partition("_")[0][4:]:
        yield "rvv"


def _name(root: Path, cpuinfo: list[dict[str, str]]) -> str:
    for key in ("model name", "cpu model", "cpu", "Hardware", "uarch"):
        for block in cpuinfo:
            if block.get(key):
                return " ".join(block[key].split())
    names = dict.fromkeys(name for block in cpuinfo if (name := _arm_core(block)) is not None)
    board = read_text(root / "proc/device-tree/model")
    if board and names:
        return f"{board} ({', '.join(names)})"
    return board or ", ".join(names) or "unknown CPU"


def _arm_core(block: dict[str, str]) -> str | None:
    try:
        key = int(block["CPU implementer"], 16), int(block["CPU part"], 16)
    except (KeyError, ValueError):
        return None
    return _ARM_CORES.get(key, f"Arm core {key[0]:#04x}:{key[1]:#05x}")
