"""Free memory read again: the real NVML binding over a fake driver, and planted trees."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.core.hardware import Device, Hardware
from localllm.probes.fresh import fresh_memory, who_holds
from localllm.probes.host import linux_host
from localllm.units import GiB, MiB
from tests.support.fake_nvml import FakeDriver, Scenario, a100_with_mig, rtx_3090, rtx_4090
from tests.support.trees import AVAILABLE_BYTES, MEMINFO, pci_files, plant

READ_TWICE = """
import json, sys
from pathlib import Path
from localllm.probes.fresh import fresh_memory, who_holds
from localllm.probes.machine import detect

root, scenario, later, names = sys.argv[1:]
before = detect(None, root=Path(root), env={}, wake_gpus=True)
Path(scenario).write_text(later)
names = json.loads(names)
after = fresh_memory(before, names, root=Path(root))
print(json.dumps([
    [(d.name, b.free_bytes, d.free_bytes) for b, d in zip(before.devices, after.devices)],
    [who_holds(d, root=Path(root)) for d in after.devices if d.name in names],
]))
"""


def read_twice(
    driver: FakeDriver, root: Path, before: Scenario, after: Scenario, *names: str
) -> tuple[dict[str, tuple[int, int]], list[str | None]]:
    """Free bytes by device, first and then, and who holds the devices with these names."""
    before.write(driver.scenario_file)
    arguments = (str(root), str(driver.scenario_file), after.text(), json.dumps(names))
    devices, holders = json.loads(driver.run(READ_TWICE, *arguments))
    return {name: (first, then) for name, first, then in devices}, holders


def test_what_others_took_of_a_card_is_seen_and_their_names(
    driver: FakeDriver, machine: Path
) -> None:
    plant(machine, {"/proc/4242/comm": "python"})
    taken = rtx_4090(used_mib=9004, processes="4242:9000 77:4")
    free, holders = read_twice(
        driver,
        machine,
        Scenario(gpus=(rtx_3090(), rtx_4090())),
        Scenario(gpus=(rtx_3090(used_mib=5000), taken)),
        "nvidia1",
    )
    whole = (24564 - 484) * MiB
    assert free["nvidia1"] == (whole - 4 * MiB, whole - 9004 * MiB)
    assert free["nvidia0"][0] == free["nvidia0"][1]  # not asked for: it may sleep
    assert holders == ["python (pid 4242) 8.79 GiB, pid 77 4.00 MiB"]


def test_a_slice_of_a_card_is_read_as_itself(driver: FakeDriver, machine: Path) -> None:
    after = a100_with_mig(**{"mig.3.used_mib": 1037})
    free, _ = read_twice(
        driver, machine, Scenario(gpus=(a100_with_mig(),)), Scenario(gpus=(after,)), "nvidia0.1"
    )
    first, then = free["nvidia0.1"]
    assert first - then == 1000 * MiB


def test_a_driver_that_has_gone_leaves_the_figures_as_they_were(
    driver: FakeDriver, machine: Path
) -> None:
    gone = Scenario(system={"code.nvmlInitWithFlags": 9})
    free, holders = read_twice(driver, machine, Scenario(gpus=(rtx_4090(),)), gone, "nvidia0")
    assert free["nvidia0"][0] == free["nvidia0"][1] and holders == [None]


def linux(root: Path, *devices: Device) -> Hardware:
    report = linux_host(root, machine="x86_64")
    return Hardware(name="test", source="test", host=report.host, devices=devices)


def test_ram_is_read_again_under_every_limit(machine: Path) -> None:
    before = linux(machine)
    assert before.host.available_bytes == AVAILABLE_BYTES
    assert fresh_memory(before, (), root=machine) == before
    plant(machine, {"/proc/meminfo": MEMINFO.replace("28000000", "8000000")})
    assert fresh_memory(before, (), root=machine).host.available_bytes == 8000000 * 1024
    group = "/sys/fs/cgroup/app"
    files = {f"{group}/memory.max": GiB, f"{group}/memory.current": GiB // 4}
    plant(machine, {"/proc/self/cgroup": "0::/app", **files})
    assert fresh_memory(before, (), root=machine).host.available_bytes == GiB * 3 // 4


def device(**changes: object) -> Device:
    known = Device(
        name="ROCm0",
        description="Test GPU",
        kind="gpu",
        backend="rocm",
        total_bytes=16 * GiB,
        free_bytes=16 * GiB,
        pci_id="0000:03:00.0",
    )
    return replace(known, **changes)  # type: ignore[arg-type]  # its own fields


def test_an_amd_card_is_read_from_sysfs(machine: Path) -> None:
    folder = "/sys/bus/pci/devices/0000:03:00.0"
    vram = {f"{folder}/mem_info_vram_total": 16 * GiB, f"{folder}/mem_info_vram_used": 5 * GiB}
    plant(machine, pci_files("0000:03:00.0", vendor=0x1002) | vram)
    (card,) = fresh_memory(linux(machine, device()), ["ROCm0"], root=machine).devices
    assert card.free_bytes == 11 * GiB


@pytest.mark.parametrize(("backend", "gib"), [("rocm", 7.63), ("metal", 16)])
def test_a_gpu_without_memory_of_its_own_has_no_more_than_the_ram(
    machine: Path, backend: str, gib: float
) -> None:
    plant(machine, {"/proc/meminfo": MEMINFO.replace("28000000", "8000000")})
    before = linux(machine, device(unified=True, backend=backend))
    (chip,) = fresh_memory(before, ["ROCm0"], root=machine).devices
    assert chip.free_bytes == pytest.approx(gib * GiB, rel=0.001)


def test_the_largest_processes_hold_the_ram(machine: Path) -> None:
    """Resident pages less the shared ones; small processes and this one explain nothing."""
    pages = GiB // os.sysconf("SC_PAGE_SIZE")
    for pid, name, resident in ((10, "firefox", 3), (9, "python", 5), (os.getpid(), "me", 9)):
        statm = f"{9 * pages} {resident * pages} {pages} 0 0 0 0"
        plant(machine, {f"/proc/{pid}/comm": name, f"/proc/{pid}/statm": statm})
    plant(machine, {"/proc/8/comm": "sh", "/proc/8/statm": "9 9 0 0 0 0 0"})
    assert who_holds(None, root=machine) == "python (pid 9) 4.00 GiB, firefox (pid 10) 2.00 GiB"
    assert who_holds(device(), root=machine) is None
