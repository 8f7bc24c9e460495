from __future__ import annotations

from pathlib import Path

import pytest

from localllm.probes.cgroup import cpu_quota, memory_limits, swap_limit_bytes, tightest
from localllm.units import GiB, MiB
from tests.support.trees import Files, plant

V1_UNLIMITED = 9223372036854771712
V2 = "/sys/fs/cgroup"
V1 = "/sys/fs/cgroup/memory"


def limit_of(root: Path) -> tuple[int, str] | None:
    limit = tightest(memory_limits(root))
    return None if limit is None else (limit.limit_bytes, limit.file)


TREES: dict[str, tuple[Files, tuple[int, str] | None]] = {
    "no limit anywhere": (
        {"/proc/self/cgroup": "0::/", f"{V2}/memory.max": "max"},
        None,
    ),
    "no control groups at all": ({}, None),
    "v2, own group is the root": (
        {"/proc/self/cgroup": "0::/", f"{V2}/memory.max": 2 * GiB},
        (2 * GiB, f"{V2}/memory.max"),
    ),
    "v2, the parent binds": (
        {
            "/proc/self/cgroup": "0::/user.slice/app.scope",
            f"{V2}/user.slice/app.scope/memory.max": "max",
            f"{V2}/user.slice/memory.max": 1 * GiB,
        },
        (1 * GiB, f"{V2}/user.slice/memory.max"),
    ),
    "v2, memory.high throttles before memory.max": (
        {
            "/proc/self/cgroup": "0::/a",
            f"{V2}/a/memory.max": 4 * GiB,
            f"{V2}/a/memory.high": 3 * GiB,
        },
        (3 * GiB, f"{V2}/a/memory.high"),
    ),
    "v2, a group outside the namespace": (
        {"/proc/self/cgroup": "0::/../other", f"{V2}/other/memory.max": 1 * GiB},
        (1 * GiB, f"{V2}/other/memory.max"),
    ),
    "v1, unlimited": (
        {
            "/proc/self/cgroup": "4:memory:/",
            f"{V1}/memory.limit_in_bytes": V1_UNLIMITED,
        },
        None,
    ),
    "v1, the path is the host's and only the root is here": (
        {
            "/proc/self/cgroup": "5:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc",
            f"{V1}/memory.limit_in_bytes": 512 * MiB,
        },
        (512 * MiB, f"{V1}/memory.limit_in_bytes"),
    ),
    "v1, a group below the container's, seen through the mount table": (
        {
            "/proc/self/cgroup": "5:memory:/docker/abc/inner",
            "/proc/self/mountinfo": (
                "40 30 0:30 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
            ),
            f"{V1}/memory.limit_in_bytes": 2 * GiB,
            f"{V1}/inner/memory.limit_in_bytes": 1 * GiB,
        },
        (1 * GiB, f"{V1}/inner/memory.limit_in_bytes"),
    ),
    "hybrid: v2 is there for systemd, memory is governed by v1": (
        {
            "/proc/self/cgroup": "4:memory:/jobs/one\n1:name=systemd:/\n0::/jobs/one",
            "/sys/fs/cgroup/unified/jobs/one/cgroup.procs": 1,
            f"{V1}/jobs/one/memory.limit_in_bytes": V1_UNLIMITED,
            f"{V1}/jobs/memory.limit_in_bytes": 8 * GiB,
            f"{V1}/memory.limit_in_bytes": V1_UNLIMITED,
        },
        (8 * GiB, f"{V1}/jobs/memory.limit_in_bytes"),
    ),
    "v2 mounted elsewhere, in a folder with a space": (
        {
            "/proc/self/cgroup": "0::/a",
            "/proc/self/mountinfo": "9 8 0:4 / /control\\040groups rw - cgroup2 none rw",
            "/control groups/a/memory.max": 1 * GiB,
        },
        (1 * GiB, "/control groups/a/memory.max"),
    ),
    "a controller whose name contains memory is not memory": (
        {"/proc/self/cgroup": "4:memorylike:/", f"{V1}/memory.limit_in_bytes": 1 * GiB},
        None,
    ),
}


@pytest.mark.parametrize(("files", "expected"), TREES.values(), ids=TREES)
def test_the_limit_is_the_tightest_of_the_group_and_its_ancestors(
    root: Path,
    files: Files,
    expected: tuple[int, str] | None,
) -> None:
    assert limit_of(plant(root, files)) == expected


def test_the_group_with_the_least_room_binds_not_the_one_with_the_least_limit(root: Path) -> None:
    plant(
        root,
        {
            "/proc/self/cgroup": "0::/parent/child",
            f"{V2}/parent/child/memory.max": 2 * GiB,
            f"{V2}/parent/child/memory.current": 0,
            f"{V2}/parent/memory.max": 8 * GiB,
            f"{V2}/parent/memory.current": 7 * GiB,
        },
    )

    limit = tightest(memory_limits(root))

    assert limit is not None
    assert (limit.file, limit.room_bytes) == (f"{V2}/parent/memory.max", 1 * GiB)


@pytest.mark.parametrize(
    ("folder", "files"),
    [
        (
            V2,
            {
                "/proc/self/cgroup": "0::/",
                "{}/memory.max": 4 * GiB,
                "{}/memory.current": 3 * GiB,
                "{}/memory.stat": f"anon 7\ninactive_file {2 * GiB}\nactive_file 9",
            },
        ),
        (
            V1,
            {
                "/proc/self/cgroup": "4:memory:/",
                "{}/memory.limit_in_bytes": 4 * GiB,
                "{}/memory.usage_in_bytes": 3 * GiB,
                "{}/memory.stat": f"inactive_file 5\ntotal_inactive_file {2 * GiB}",
            },
        ),
    ],
    ids=["v2", "v1"],
)
def test_page_cache_that_the_kernel_would_drop_is_not_in_use(
    root: Path, folder: str, files: Files
) -> None:
    plant(root, {name.format(folder): content for name, content in files.items()})

    limit = tightest(memory_limits(root))

    assert limit is not None
    assert limit.used_bytes == 3 * GiB - 2 * GiB
    assert limit.room_bytes == 3 * GiB


def test_a_group_over_its_limit_has_no_room_rather_than_less_than_none(root: Path) -> None:
    plant(
        root,
        {
            "/proc/self/cgroup": "0::/",
            f"{V2}/memory.max": 1 * GiB,
            f"{V2}/memory.current": 2 * GiB,
        },
    )

    assert [limit.room_bytes for limit in memory_limits(root)] == [0]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/proc/self/cgroup": "0::/a", f"{V2}/a/cpu.max": "max 100000"}, None),
        ({"/proc/self/cgroup": "0::/a", f"{V2}/a/cpu.max": "150000 100000"}, 1.5),
        (
            {
                "/proc/self/cgroup": "0::/a/b",
                f"{V2}/a/b/cpu.max": "400000 100000",
                f"{V2}/a/cpu.max": "200000 100000",
            },
            2.0,
        ),
        (
            {
                "/proc/self/cgroup": "2:cpu,cpuacct:/x",
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": 50000,
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": 100000,
            },
            0.5,
        ),
        (
            {
                "/proc/self/cgroup": "2:cpu,cpuacct:/",
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": -1,
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": 100000,
            },
            None,
        ),
        ({"/proc/self/cgroup": "3:cpuset:/", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": 1}, None),
        ({"/proc/self/cgroup": "0::/", f"{V2}/cpu.max": "100000 0"}, None),
        ({}, None),
    ],
)
def test_the_cpu_quota_is_the_tightest_of_all_groups(
    root: Path, files: Files, expected: float | None
) -> None:
    assert cpu_quota(plant(root, files)) == expected


def test_swap_that_the_group_may_not_use_is_not_swap(root: Path) -> None:
    plant(root, {"/proc/self/cgroup": "0::/a", f"{V2}/a/memory.swap.max": 0})

    assert swap_limit_bytes(root) == 0
