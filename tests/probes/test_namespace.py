"""The real files of a real process, with chosen contents: a mount namespace of our own.

No root folder is passed and nothing is replaced: the probes read ``/proc`` and ``/sys``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from localllm.units import GiB, MiB
from tests.support.inside import inside, needs_namespaces
from tests.support.trees import Files, battery_files, plant, rapl_files

CHECKOUT = Path(__file__).parents[2]
DETECT = """
import json
from localllm.core.hardware_document import hardware_document
from localllm.probes.machine import detect
print(json.dumps(hardware_document(detect([]))))
"""


pytestmark = needs_namespaces


def document_inside(
    tmp_path: Path, files: Files, mounts: dict[str, str], *arguments: str
) -> dict[str, Any]:
    """Run Python with ``mounts`` (target: one of ``files``, or its folder) over real paths."""
    plant(tmp_path, files)
    over = {target: tmp_path / source.lstrip("/") for target, source in mounts.items()}
    done = subprocess.run(
        inside(over, sys.executable, *arguments),
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def detect_inside(tmp_path: Path, files: Files, mounts: dict[str, str]) -> dict[str, Any]:
    """Detect the machine there."""
    return document_inside(tmp_path, files, mounts, "-c", DETECT)


MEMINFO = "MemTotal: 4194304 kB\nMemFree: 1000 kB\nMemAvailable: 2097152 kB\n"


def test_the_machines_memory_is_what_meminfo_says(tmp_path: Path) -> None:
    document = detect_inside(
        tmp_path,
        {"/meminfo": MEMINFO, "/none/memory.max": "max"},
        {"/proc/meminfo": "/meminfo", "/sys/fs/cgroup": "/none"},
    )

    assert document["host"]["total_bytes"] == 4 * GiB
    assert document["host"]["available_bytes"] == 2 * GiB


def test_a_containers_limit_is_what_the_process_has(tmp_path: Path) -> None:
    limits: Files = {
        # Under either version, whichever /proc/self/cgroup of this machine names.
        "/limit/memory.max": 1536 * MiB,
        "/limit/memory.current": 256 * MiB,
        "/limit/cpu.max": "150000 100000",
        "/limit/memory/memory.limit_in_bytes": 1536 * MiB,
        "/limit/memory/memory.usage_in_bytes": 256 * MiB,
        "/limit/cpu/cpu.cfs_quota_us": 150000,
        "/limit/cpu/cpu.cfs_period_us": 100000,
    }

    host = detect_inside(
        tmp_path,
        {"/meminfo": MEMINFO, **limits},
        {"/proc/meminfo": "/meminfo", "/sys/fs/cgroup": "/limit"},
    )["host"]

    assert host["total_bytes"] == 1536 * MiB
    assert host["available_bytes"] == (1536 - 256) * MiB
    assert host["memory_limit"].startswith("/sys/fs/cgroup/")
    assert host["cpu_quota"] == 1.5


def test_the_program_shows_the_battery_the_processor_and_the_limits_with_their_sources(
    tmp_path: Path,
) -> None:
    """The shipped command on a made laptop: 4 GiB, of which a container may use 1,536 MiB."""
    files = (
        rapl_files(uj=262143300000, parts=("core", "dram"))
        | rapl_files(1, name="psys", uj=1)
        | battery_files(power_uw=11_500_000)
    )
    laptop: Files = {
        "/meminfo": MEMINFO,
        "/limit/memory.max": 1536 * MiB,
        "/limit/memory.current": 0,
        "/limit/memory/memory.limit_in_bytes": 1536 * MiB,
        "/limit/memory/memory.usage_in_bytes": 0,
    }

    document = document_inside(
        tmp_path,
        files | laptop,
        {"/proc/meminfo": "/meminfo", "/sys/fs/cgroup": "/limit", "/sys/class": "/sys/class"},
        *("-m", "localllm", "hardware", "--json"),
    )

    shown = [
        (meter["source"], meter["scope"], meter["kind"], meter["watts"])
        for meter in document["meters"]
    ]
    assert shown == [
        ("RAPL", "CPU package", "counter", None),
        ("RAPL", "DRAM", "counter", None),
        ("battery", "whole laptop", "instant", 11.5),
    ]
    assert document["no_meters"] == []
    assert document["host"]["total_bytes"] == 1536 * MiB
