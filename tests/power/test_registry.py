"""Which meters a machine has: everything that answers, once, and nothing imported before it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from localllm.power.meter import Wanted
from localllm.power.registry import METERS, open_meters
from localllm.power.seen import see_meters
from tests.support.trees import amdgpu_sensors, battery_files, plant, rapl_files

CARD = "0000:03:00.0"
CPUINFO = {"/proc/cpuinfo": "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx2"}


def test_several_scopes_are_open_at_once_in_the_order_of_preference(tmp_path: Path) -> None:
    plant(
        tmp_path,
        CPUINFO
        | rapl_files(uj=1, parts=("dram",))
        | amdgpu_sensors(CARD, {"power1_average": 203_000_000})
        | battery_files(power_uw=11_500_000),
    )
    opened = open_meters(Wanted(root=tmp_path, pci_ids=(CARD,)))
    assert [meter.source.scope for meter in opened.meters] == [
        "GPU board",
        "CPU package",
        "DRAM",
        "whole laptop",
    ]
    assert opened.missing == ()
    assert len(opened.watchers) == 1

    seen = see_meters(Wanted(root=tmp_path, pci_ids=(CARD,)))
    assert [meter.watts for meter in seen.meters] == [203.0, None, None, 11.5]
    assert all((meter.watts is None) == (meter.unknown is not None) for meter in seen.meters)


def test_a_gpu_that_nobody_wants_is_not_looked_at(tmp_path: Path) -> None:
    plant(tmp_path, CPUINFO | amdgpu_sensors(CARD, {"power1_average": 203_000_000}))
    assert open_meters(Wanted(root=tmp_path)).meters == ()


def test_a_machine_without_any_meter_has_a_reason(tmp_path: Path) -> None:
    plant(tmp_path, CPUINFO)
    seen = see_meters(Wanted(root=tmp_path))
    assert seen.meters == ()
    assert [missing.scope for missing in seen.missing] == ["CPU package"]


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    script = (
        "import sys\n"
        "from localllm.power.registry import METERS\n"
        "from localllm.power.sampler import Sampler\n"
        "print([n for n in ('pynvml', 'ctypes', 'subprocess') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert done.stdout.strip() == "[]"
    assert len(METERS) == 5
