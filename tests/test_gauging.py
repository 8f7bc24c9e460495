"""A machine while it is looked at: planted trees, and the fake driver for a laptop's GPU."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from localllm.core.metered.gauged import Instant, watts_of
from localllm.gauging import Gauges
from localllm.probes.machine import detect
from localllm.units import KiB, MiB
from tests.support.fake_nvml import FakeDriver, Scenario, rtx_4090
from tests.support.trees import AVAILABLE_BYTES, MEMINFO, cpu_files, pci_files, plant, rapl_files


def instants(machine: Path, n: int) -> list[Instant]:
    gauges = Gauges(detect(None, root=machine, env={}), every_s=0.05, root=machine)
    seen: list[Instant] = []
    for looks in gauges.looks():
        seen.append(looks[-1])
        assert list(looks) == seen  # what came before is kept
        plant(machine, rapl_files(uj=(len(seen) + 1) * 1_000_000))
        if len(seen) == n:
            gauges.stop()
    return seen


def test_memory_load_and_meters_are_read_together(root: Path) -> None:
    plant(root, cpu_files(4) | rapl_files(uj=1_000_000))
    first, *_, last = instants(root, 8)
    assert first.hardware.host.available_bytes == AVAILABLE_BYTES
    assert first.page_cache_bytes == (9_000_000 + 500_000) * KiB
    assert first.cpu is None  # load needs two looks
    assert last.cpu is not None
    assert last.cpu.own >= 0 and 0 <= last.cpu.share <= 1
    (meter,) = last.meters
    assert (meter.source.name, meter.source.scope) == ("RAPL", "CPU package")
    assert meter.watts is not None and meter.watts > 0
    assert watts_of((first, last), meter.source) == (first.meters[0].watts, meter.watts)


def test_what_others_take_of_the_ram_is_seen(root: Path) -> None:
    plant(root, cpu_files(2))
    gauges = Gauges(detect(None, root=root, env={}), every_s=0.0, root=root)
    looks = gauges.looks()
    next(looks)
    plant(root, {"/proc/meminfo": MEMINFO.replace("28000000", "8000000")})
    assert next(looks)[-1].hardware.host.available_bytes == 8_000_000 * KiB
    looks.close()


def test_after_the_end_no_thread_is_left(root: Path) -> None:
    plant(root, cpu_files(2) | rapl_files(uj=1))
    instants(root, 2)
    assert not [t for t in threading.enumerate() if t.name.startswith("localllm-power")]


WAKES = """
import json, sys
from pathlib import Path
from localllm.gauging import Gauges
from localllm.probes.machine import detect

root, status, log = map(Path, sys.argv[1:])
hardware = detect(None, root=root, env={}, wake_gpus=True)
status.write_text("suspended")
log.write_text("")
gauges, said = Gauges(hardware, every_s=0.05, root=root), []
for looks in gauges.looks():
    now = looks[-1]
    if len(said) == 2:
        calls = log.read_text().split()
        status.write_text("active")
    health = now.health(hardware.devices[0])
    said.append([sorted(now.asleep), [m.reason for m in now.missing if m.scope == "GPU board"],
                 health and [health.utilisation, health.temperature_c],
                 now.hardware.devices[0].free_bytes])
    if health or len(said) > 60:
        gauges.stop()
print(json.dumps([calls, said[0], said[-1]]))
"""


def test_a_sleeping_gpu_is_left_asleep_and_read_once_something_woke_it(
    driver: FakeDriver, root: Path
) -> None:
    address = "0000:c1:00.0"
    plant(root, cpu_files(2) | pci_files(address))
    gpu = rtx_4090(utilisation_percent=42, temperature_c=51, used_mib=1004, energy_mj=5000)
    Scenario(gpus=(gpu,)).write(driver.scenario_file)
    status = root / f"sys/bus/pci/devices/{address}/power/runtime_status"
    log = driver.folder / "calls.txt"
    calls, asleep, awake = json.loads(driver.run(WAKES, str(root), str(status), str(log)))
    assert calls == []
    assert asleep[:3] == [["nvidia0"], ["the GPU sleeps; reading it would wake it"], None]
    assert awake == [[], [], [0.42, 51.0], (24564 - 484 - 1004) * MiB]
