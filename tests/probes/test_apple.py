"""Apple silicon, from the text that ``sysctl`` prints on real machines."""

from __future__ import annotations

import pytest

from localllm.core.hardware import Host
from localllm.probes.apple import (
    gpu_from_sysctl,
    gpu_working_set_bytes,
    host_from_sysctl,
    parse_swap,
    parse_sysctl,
)
from localllm.units import GiB, MiB

M2_MAX = """\
hw.ncpu: 12
hw.physicalcpu: 12
hw.logicalcpu: 12
hw.perflevel0.physicalcpu: 8
hw.perflevel1.physicalcpu: 4
hw.memsize: 68719476736
hw.optional.arm64: 1
hw.optional.neon: 1
hw.optional.AdvSIMD: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_FP16: 1
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_SME: 0
machdep.cpu.brand_string: Apple M2 Max
vm.swapusage: total = 23552.00M  used = 23181.62M  free = 370.38M  (encrypted)
iogpu.wired_limit_mb: 0
sysctl: unknown oid 'hw.cpufrequency_max'
"""

M1 = """\
hw.memsize: 17179869184
hw.perflevel0.physicalcpu: 4
hw.perflevel1.physicalcpu: 4
hw.physicalcpu: 8
hw.logicalcpu: 8
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_I8MM: 0
hw.optional.neon: 1
machdep.cpu.brand_string: Apple M1
"""

INTEL = """\
hw.physicalcpu: 8
hw.logicalcpu: 16
hw.memsize: 34359738368
hw.optional.avx1_0: 1
hw.optional.avx2_0: 1
hw.optional.fma: 1
hw.optional.avx512f: 0
machdep.cpu.brand_string: Intel(R) Core(TM) i9-9980HK CPU @ 2.40GHz
"""


def host_of(text: str) -> Host:
    return host_from_sysctl(
        parse_sysctl(text), machine="arm64", total_bytes=1, available_bytes=20 * GiB
    )


def test_an_apple_chip_has_performance_cores_and_its_instruction_sets() -> None:
    host = host_of(M2_MAX)

    assert (host.cpu, host.os, host.machine) == ("Apple M2 Max", "darwin", "arm64")
    assert (host.n_cores_physical, host.n_cores_performance, host.n_threads_logical) == (12, 8, 12)
    assert host.n_threads_default == 8
    assert host.isa == ("neon", "fp16", "dotprod", "i8mm", "bf16")
    assert (host.total_bytes, host.available_bytes) == (64 * GiB, 20 * GiB)
    assert host.swap_total_bytes == 23552 * MiB
    assert host.swap_free_bytes == round(370.38 * MiB)


def test_an_m1_lacks_what_an_m2_has() -> None:
    assert host_of(M1).isa == ("neon", "dotprod")


def test_an_intel_mac_counts_cores_and_not_threads_and_has_no_metal_device() -> None:
    host = host_of(INTEL)

    assert (host.n_cores_physical, host.n_cores_performance, host.n_threads_logical) == (8, 8, 16)
    assert host.isa == ("avx", "fma", "avx2")
    assert gpu_from_sysctl(parse_sysctl(INTEL), available_bytes=GiB) is None


def test_a_sysctl_that_says_nothing_leaves_reasons() -> None:
    host = host_of("")

    assert (host.cpu, host.n_cores_physical, host.total_bytes) == ("unknown CPU", None, 1)
    assert {"n_cores_physical", "n_cores_performance", "isa"} <= host.unknown.keys()
    assert gpu_from_sysctl({}, available_bytes=GiB) is None


def test_the_gpu_shares_the_memory_up_to_its_working_set() -> None:
    device = gpu_from_sysctl(parse_sysctl(M2_MAX), available_bytes=20 * GiB)

    assert device is not None
    assert (device.description, device.unified) == ("Apple M2 Max GPU", True)
    assert (device.total_bytes, device.free_bytes) == (48 * GiB, 20 * GiB)
    assert "estimated" in device.unknown["total_bytes"]


def test_a_limit_that_was_set_is_exact_and_no_estimate() -> None:
    text = M2_MAX.replace("iogpu.wired_limit_mb: 0", "iogpu.wired_limit_mb: 58982")

    device = gpu_from_sysctl(parse_sysctl(text), available_bytes=64 * GiB)

    assert device is not None
    assert device.total_bytes == 58982 * MiB
    assert "total_bytes" not in device.unknown


@pytest.mark.parametrize(
    ("memory_gib", "logged_mb"),
    [
        # recommendedMaxWorkingSetSize in llama.cpp's logs, in 10^6 bytes.
        (16, 11453.25),
        (24, 17179.89),
        (32, 22906.50),
        (36, 28991.03),
        (64, 51539.61),
        (128, 103079.22),
    ],
)
def test_the_working_set_is_what_llama_cpp_logged(memory_gib: int, logged_mb: float) -> None:
    # macOS rounds to pages: less than a tenth of a megabyte.
    assert gpu_working_set_bytes(memory_gib * GiB, 0) / 1e6 == pytest.approx(logged_mb, abs=0.1)


def test_swap_without_units_or_text_is_none_of_it() -> None:
    assert parse_swap("") == (0, 0)
    assert parse_swap("total = lots  free = 3.50M") == (0, round(3.5 * MiB))
