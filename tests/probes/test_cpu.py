from __future__ import annotations

from pathlib import Path

import pytest

from localllm.probes.cpu import linux_cpu, numa_nodes
from localllm.system.sysfiles import parse_cpu_list
from tests.support.trees import Files, cpu_files, plant

CPU = "/sys/devices/system/cpu"


def test_hardware_threads_of_one_core_are_one_core(root: Path) -> None:
    cpu = linux_cpu(plant(root, cpu_files(16, n_siblings=2)))

    assert (cpu.n_cores_physical, cpu.n_cores_performance, cpu.n_threads_logical) == (8, 8, 16)
    assert cpu.unknown == {}


def test_an_intel_hybrid_counts_its_performance_cores(root: Path) -> None:
    # i7-12700: 8 performance cores with two threads each (0-15), 4 efficiency cores (16-19).
    files = cpu_files(20)
    for number in range(16):
        first = number // 2 * 2
        files[f"{CPU}/cpu{number}/topology/core_cpus_list"] = f"{first}-{first + 1}"
    files |= {"/sys/devices/cpu_core/cpus": "0-15", "/sys/devices/cpu_atom/cpus": "16-19"}

    cpu = linux_cpu(plant(root, files))

    assert (cpu.n_cores_physical, cpu.n_cores_performance, cpu.n_threads_logical) == (12, 8, 20)


@pytest.mark.parametrize(
    ("capacities", "fast"),
    [
        ([1024] * 8, 8),  # a server: all alike
        ([250] * 4 + [1024] * 4, 4),  # big.LITTLE
        ([320] * 4 + [760] * 3 + [1024], 4),  # three kinds: little, middle, prime
        ([718] * 10 + [1024] * 10, 20),  # GB10: both kinds are fast
    ],
)
def test_arm_cores_far_below_the_fastest_are_not_performance_cores(
    root: Path, capacities: list[int], fast: int
) -> None:
    files = cpu_files(len(capacities))
    files |= {f"{CPU}/cpu{i}/cpu_capacity": value for i, value in enumerate(capacities)}

    cpu = linux_cpu(plant(root, files))

    assert (cpu.n_cores_physical, cpu.n_cores_performance) == (len(capacities), fast)


def test_cores_outside_the_affinity_mask_do_not_count(root: Path) -> None:
    files = cpu_files(16, n_siblings=2)
    files["/proc/self/status"] = "Cpus_allowed_list:\t0-1,8"

    cpu = linux_cpu(plant(root, files))

    # CPU 8 is the second thread of core 0.
    assert (cpu.n_cores_physical, cpu.n_threads_logical, cpu.n_threads_online) == (2, 3, 16)


def test_a_mask_of_efficiency_cores_only_still_has_cores_to_run_on(root: Path) -> None:
    files = cpu_files(12) | {"/sys/devices/cpu_core/cpus": "0-7"}
    files["/proc/self/status"] = "Cpus_allowed_list:\t8-11"

    assert linux_cpu(plant(root, files)).n_cores_performance == 4


def test_cpus_that_are_offline_do_not_count(root: Path) -> None:
    files = cpu_files(8) | {f"{CPU}/online": "0-3"}

    assert linux_cpu(plant(root, files)).n_threads_logical == 4


def test_a_container_that_hides_sys_still_has_proc_cpuinfo(root: Path) -> None:
    files = {k: v for k, v in cpu_files(8, n_siblings=2).items() if not k.startswith("/sys")}

    cpu = linux_cpu(plant(root, files))

    assert (cpu.n_cores_physical, cpu.n_threads_logical) == (4, 8)


def test_unknown_cores_are_none_with_a_reason(root: Path) -> None:
    plant(root, {"/proc/cpuinfo": "processor\t: 0\nmodel name\t: Odd\n\nprocessor\t: 1\n"})

    cpu = linux_cpu(root)

    assert cpu.n_cores_physical is None
    assert "n_cores_physical" in cpu.unknown
    assert cpu.n_threads_logical == 2
    assert "isa" in cpu.unknown


def test_a_machine_without_any_file_is_one_unknown_cpu(root: Path) -> None:
    cpu = linux_cpu(root)

    assert (cpu.name, cpu.n_threads_logical, cpu.n_numa_nodes) == ("unknown CPU", 1, 1)


def test_instruction_sets_have_one_name_on_every_kind_of_machine(root: Path) -> None:
    flags = "fpu pni ssse3 sse4_2 avx f16c fma bmi2 avx2 avx512f avx512_vnni amx_int8 sgx"
    x86 = linux_cpu(plant(root / "x86", cpu_files(2, flags=flags)))
    arm_info = "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp sve i8mm bf16\n"
    arm_info += "CPU implementer\t: 0x41\nCPU part\t: 0xd40\n"
    arm = linux_cpu(plant(root / "arm", {"/proc/cpuinfo": arm_info}))
    risc_v = linux_cpu(plant(root / "rv", {"/proc/cpuinfo": "processor: 0\nisa: rv64imafdcv_zba"}))

    assert x86.isa == (
        *("sse3", "ssse3", "sse4_2", "avx", "f16c", "fma", "bmi2", "avx2"),
        *("avx512f", "avx512_vnni", "amx_int8"),
    )
    assert arm.isa == ("neon", "fp16", "dotprod", "i8mm", "bf16", "sve")
    assert risc_v.isa == ("rvv",)


def test_only_what_every_core_supports_is_an_instruction_set_of_the_machine(root: Path) -> None:
    big, little = "Features: asimd sve\n", "Features: asimd\n"
    plant(root, {"/proc/cpuinfo": f"processor: 0\n{big}\nprocessor: 1\n{little}"})

    assert linux_cpu(root).isa == ("neon",)


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (
            {"/proc/cpuinfo": "model name\t: AMD Ryzen 9  5950X 16-Core\n"},
            "AMD Ryzen 9 5950X 16-Core",
        ),
        (
            {"/proc/cpuinfo": "processor: 0\nCPU implementer: 0x41\nCPU part: 0xd4f\n"},
            "Neoverse-V2",
        ),
        (
            {
                "/proc/cpuinfo": "processor: 0\nCPU implementer: 0x41\nCPU part: 0xd0b\n",
                "/proc/device-tree/model": b"Raspberry Pi 5 Model B Rev 1.0\0",
            },
            "Raspberry Pi 5 Model B Rev 1.0 (Cortex-A76)",
        ),
        (
            {"/proc/cpuinfo": "processor: 0\nCPU implementer: 0x51\nCPU part: 0x001\n"},
            "Arm core 0x51:0x001",
        ),
    ],
)
def test_a_cpu_is_named_as_its_makers_name_it(root: Path, files: Files, name: str) -> None:
    assert linux_cpu(plant(root, files)).name == name


def test_numa_nodes_with_memory_but_no_cpu_are_not_nodes_to_run_on(root: Path) -> None:
    nodes = "/sys/devices/system/node"
    # Grace Hopper: node 0 is the CPU's, node 1 the GPU's memory.
    plant(root, {f"{nodes}/has_cpu": 0, f"{nodes}/has_memory": "0-1", f"{nodes}/online": "0-1"})
    assert numa_nodes(root) == 1

    plant(root, {f"{nodes}/has_cpu": "0-1"})
    assert numa_nodes(root) == 2


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0-3,8,10-11", {0, 1, 2, 3, 8, 10, 11}),
        ("0", {0}),
        ("", set()),
        ("3-1", set()),
        ("0-99999999999", set()),
        ("a-b,2", {2}),
        ("-1", set()),
    ],
)
def test_cpu_lists_are_read_as_the_kernel_writes_them(text: str, numbers: set[int]) -> None:
    assert parse_cpu_list(text) == numbers
