"""Apple silicon: chip, cores and the GPU's share of the unified memory, from ``sysctl``.

The command and the parser are apart, so that the recorded text of any Mac can be tested anywhere.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from localllm.core.hardware import Device, Host
from localllm.system.sysfiles import to_int
from localllm.units import GiB, MiB

_SYSCTL_TIMEOUT_S = 2.0
_SUBTREES = ("hw", "machdep.cpu", "vm.swapusage", "iogpu")

_ISA_BY_KEY = {
    "hw.optional.neon": "neon",
    "hw.optional.AdvSIMD": "neon",
    "hw.optional.arm.FEAT_FP16": "fp16",
    "hw.optional.arm.FEAT_DotProd": "dotprod",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
    "hw.optional.arm.FEAT_SME2": "sme2",
    # Intel Macs
    "hw.optional.avx1_0": "avx",
    "hw.optional.f16c": "f16c",
    "hw.optional.fma": "fma",
    "hw.optional.bmi2": "bmi2",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.avx512bw": "avx512bw",
    "hw.optional.avx512vbmi": "avx512_vbmi",
}


def sysctl_values() -> dict[str, str]:
    """Return the sysctl values that matter here; empty when the command is missing or hangs."""
    text = ""
    for subtree in _SUBTREES:
        # One call each: sysctl fails as a whole on a name that this version of macOS lacks.
        try:
            done = subprocess.run(
                ["/usr/sbin/sysctl", subtree],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SYSCTL_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        text += done.stdout
    return parse_sysctl(text)


def parse_sysctl(text: str) -> dict[str, str]:
    """Return the values of ``sysctl``'s output by name; other lines are dropped."""
    pairs = (line.partition(": ") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def parse_swap(text: str) -> tuple[int, int]:
    """Return total and free swap in bytes from ``total = 2048.00M  used = 1.00M  free = ...``."""
    words = text.split()
    sizes = {}
    for name, equals, value in zip(words, words[1:], words[2:], strict=False):
        if equals == "=" and value.endswith("M"):
            try:
                sizes[name] = round(float(value[:-1]) * MiB)
            except ValueError:
                continue
    return sizes.get("total", 0), sizes.get("free", 0)


def host_from_sysctl(
    values: Mapping[str, str], *, machine: str, total_bytes: int, available_bytes: int
) -> Host:
    """Return the host of a Mac; sysctl does not tell what memory is available."""
    physical = to_int(values.get("hw.physicalcpu"))
    fast = to_int(values.get("hw.perflevel0.physicalcpu"))
    swap_total, swap_free = parse_swap(values.get("vm.swapusage", ""))
    isa = tuple(dict.fromkeys(i for key, i in _ISA_BY_KEY.items() if values.get(key) == "1"))
    unknown = {"memory_bandwidth_gb_s": "not measured; it is measured on request"}
    if physical is None:
        unknown["n_cores_physical"] = "sysctl hw.physicalcpu did not answer"
    if fast is None and physical is None:
        unknown["n_cores_performance"] = "sysctl hw.perflevel0.physicalcpu did not answer"
    if not isa:
        unknown["isa"] = "sysctl hw.optional did not answer"
    return Host(
        cpu=values.get("machdep.cpu.brand_string", "unknown CPU"),
        os="darwin",
        machine=machine,
        total_bytes=to_int(values.get("hw.memsize")) or total_bytes,
        available_bytes=available_bytes,
        swap_total_bytes=swap_total,
        swap_free_bytes=swap_free,
        n_cores_physical=physical,
        n_cores_performance=fast or physical,
        n_threads_logical=to_int(values.get("hw.logicalcpu")) or physical or 1,
        isa=isa,
        unknown=unknown,
    )


def gpu_working_set_bytes(memory_bytes: int, wired_limit_mb: int) -> int:
    """Return how much of the unified memory the GPU may hold, in bytes.

    A limit set by ``sudo sysctl iogpu.wired_limit_mb=N`` counts as it is. The default (0) is a
    policy that Apple does not publish; llama.cpp's logs of ``recommendedMaxWorkingSetSize`` show
    two thirds of the memory below 36 GiB (16 GiB: 10,922 MiB, 24 GiB: 16,384, 32 GiB: 21,845) and
    three quarters from there on (36 GiB: 27,648, 64 GiB: 49,152, 128 GiB: 98,304). macOS 26 gives
    somewhat more to small machines (16 GiB: 12,124), so this is the cautious figure; only Metal
    has the exact one.
    """
    if wired_limit_mb > 0:
        return min(memory_bytes, wired_limit_mb * MiB)
    numerator, denominator = (3, 4) if memory_bytes >= 36 * GiB else (2, 3)
    return memory_bytes * numerator // denominator


def gpu_from_sysctl(values: Mapping[str, str], *, available_bytes: int) -> Device | None:
    """Return the GPU of an Apple chip, or None on an Intel Mac."""
    chip = values.get("machdep.cpu.brand_string", "")
    memory = to_int(values.get("hw.memsize"))
    if not chip.startswith("Apple ") or memory is None:
        return None
    wired = to_int(values.get("iogpu.wired_limit_mb")) or 0
    total = gpu_working_set_bytes(memory, wired)
    unknown = {"memory_bandwidth_gb_s": "macOS does not tell"}
    if not wired:
        unknown["total_bytes"] = (
            "estimated from the memory size: macOS tells the exact share to Metal only"
        )
    return Device(
        name="apple0",
        description=f"{chip} GPU",
        kind="gpu",
        backend="none",
        total_bytes=total,
        free_bytes=min(total, available_bytes),
        unified=True,
        unknown=unknown,
    )
