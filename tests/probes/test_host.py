from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from localllm.core.hardware import Host
from localllm.probes.host import linux_host, parse_meminfo, probe_host
from localllm.units import GiB
from tests.support.trees import AVAILABLE_BYTES, TOTAL_BYTES, Files, cpu_files, plant

V2 = "/sys/fs/cgroup"


def host_of(root: Path, files: Files) -> Host:
    return linux_host(plant(root, cpu_files(8) | files), machine="x86_64").host


def test_without_limits_the_host_is_what_meminfo_says(root: Path) -> None:
    host = host_of(root, {})

    assert (host.total_bytes, host.available_bytes) == (TOTAL_BYTES, AVAILABLE_BYTES)
    assert host.memory_limit is None
    assert (host.swap_total_bytes, host.swap_free_bytes) == (8388604 * 1024, 8000000 * 1024)
    assert host.unknown == {"memory_bandwidth_gb_s": "not measured; it is measured on request"}


def test_a_container_has_its_limit_and_not_the_hosts_memory(root: Path) -> None:
    limit: Files = {
        "/proc/self/cgroup": "0::/",
        f"{V2}/memory.max": 4 * GiB,
        f"{V2}/memory.current": 1 * GiB,
    }

    host = host_of(root, limit)

    assert (host.total_bytes, host.available_bytes) == (4 * GiB, 3 * GiB)
    assert host.memory_limit == f"{V2}/memory.max"


def test_a_limit_above_the_memory_binds_nothing(root: Path) -> None:
    host = host_of(root, {"/proc/self/cgroup": "0::/", f"{V2}/memory.max": 64 * GiB})

    assert (host.total_bytes, host.available_bytes) == (TOTAL_BYTES, AVAILABLE_BYTES)
    assert host.memory_limit is None


def test_the_limit_that_leaves_the_least_is_the_one_named(root: Path) -> None:
    host = host_of(
        root,
        {
            "/proc/self/cgroup": "0::/a/b",
            f"{V2}/a/b/memory.max": 8 * GiB,
            f"{V2}/a/b/memory.current": 1 * GiB,
            f"{V2}/a/memory.max": 16 * GiB,
            f"{V2}/a/memory.current": 14 * GiB,
        },
    )

    assert (host.total_bytes, host.available_bytes) == (8 * GiB, 2 * GiB)
    assert host.memory_limit == f"{V2}/a/memory.max"


def test_a_limit_is_explained_with_its_file(root: Path) -> None:
    files: Files = {"/proc/self/cgroup": "0::/", f"{V2}/memory.max": 2 * GiB}

    notes = linux_host(plant(root, cpu_files(8) | files), machine="x86_64").notes

    assert notes == (
        "/sys/fs/cgroup/memory.max limits this process: 2.00 GiB are available of the machine's "
        "31.3 GiB",
    )


def test_swap_is_what_the_group_may_use(root: Path) -> None:
    host = host_of(root, {"/proc/self/cgroup": "0::/", f"{V2}/memory.swap.max": 0})

    assert (host.swap_total_bytes, host.swap_free_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("quota", "n_siblings", "threads"),
    [("max 100000", 1, 8), ("max 100000", 2, 4), ("250000 100000", 1, 2), ("50000 100000", 1, 1)],
)
def test_threads_are_cores_within_the_quota(
    root: Path, quota: str, n_siblings: int, threads: int
) -> None:
    files = cpu_files(8, n_siblings=n_siblings)
    files |= {"/proc/self/cgroup": "0::/", f"{V2}/cpu.max": quota}

    assert linux_host(plant(root, files), machine="x86_64").host.n_threads_default == threads


def test_a_kernel_without_memavailable_still_has_an_estimate(root: Path) -> None:
    meminfo = "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 20 kB\nCached: 300 kB\n"

    host = host_of(root, {"/proc/meminfo": meminfo})

    assert host.available_bytes == (100 + 20 + 300) * 1024


def test_an_empty_machine_is_described_and_not_a_crash(root: Path) -> None:
    host = linux_host(root, machine="x86_64").host

    assert (host.total_bytes, host.available_bytes) == (0, 0)
    assert "total_bytes" in host.unknown


def test_meminfo_lines_without_a_unit_are_counts_and_not_sizes() -> None:
    assert parse_meminfo("HugePages_Total:   4\nMemTotal: 2 kB\nbroken\n") == {"MemTotal": 2048}


@pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux's own figures")
def test_this_machine_has_memory_cores_and_a_name() -> None:
    host = probe_host().host

    assert 0 < host.available_bytes <= host.total_bytes
    assert host.total_bytes <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert host.n_threads_logical == len(os.sched_getaffinity(0))
    assert 1 <= host.n_threads_default <= host.n_threads_logical
    assert host.cpu
    assert host.n_cores_physical is None or host.n_cores_physical <= host.n_threads_logical
