"""A desk whose machine, gauges and diagnosis are what a test says; the rest is the real one's."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import replace

from localllm.core.calibration import Observation
from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.metered.gauged import CpuLoad, Instant, MeterNow
from localllm.core.metered.meters import Missing, SeenMeters
from localllm.core.metered.readings import Health, Source
from localllm.core.recommendation import Known
from localllm.doctor import Facts
from localllm.gauging import Gauges
from localllm.tui.desk import Desk
from localllm.units import GiB
from tests.doctor.test_findings import HEALTHY
from tests.support.specs import gpu, host, machine

FIRST = replace(
    gpu(),
    description="NVIDIA GeForce RTX 4090",
    memory_bandwidth_basis="memory clock x bus width",
    pci_id="0000:01:00.0",
    pcie_gen=1,
    pcie_gen_max=4,
    pcie_width=16,
    pcie_width_max=16,
    power_limit_w=450.0,
    driver="560.35.03",
    cuda_version="12.6",
)
SECOND = replace(
    gpu("CUDA1"),
    description="NVIDIA GeForce RTX 3060 Laptop GPU",
    pci_id="0000:02:00.0",
    total_bytes=6 * GiB,
    free_bytes=None,
    memory_bandwidth_gb_s=None,
    unknown={"free_bytes": "the GPU sleeps; reading it would wake it"},
)
WORKSTATION = replace(
    machine(FIRST, SECOND),
    name="NVIDIA GeForce RTX 4090, Test CPU",
    source=THIS_MACHINE,
    host=replace(
        host(),
        memory_limit="/sys/fs/cgroup/memory.max",
        memory_bandwidth_gb_s=None,
        unknown={"memory_bandwidth_gb_s": "not measured; it is measured on request"},
    ),
)
COUNTER = Source(
    name="NVML energy counter",
    scope="GPU board",
    kind="counter",
    device="nvidia0",
    pci_id=FIRST.pci_id,
    period_s=0.1,
)
RAPL_FIX = "sudo tee /etc/udev/rules.d/70-localllm-rapl.rules"
NO_RAPL = Missing(
    scope="CPU package", device="package 0", reason="only root may read RAPL here", fix=RAPL_FIX
)
ASLEEP = Missing(
    scope="GPU board",
    device="0000:02:00.0",
    reason="the GPU sleeps; reading it would wake it",
)


def instant(n: int, hardware: Hardware = WORKSTATION) -> Instant:
    """The ``n``th look: load and watts rise, memory is taken."""
    first = replace(FIRST, free_bytes=(20 - n) * GiB)
    return Instant(
        t_s=float(n),
        hardware=replace(hardware, devices=(first, *hardware.devices[1:])),
        cpu=CpuLoad(busy=2.0 * n, own=float(n), of=16) if n else None,
        page_cache_bytes=9 * GiB,
        meters=(MeterNow(source=COUNTER, watts=60.0 * n if n else None),),
        missing=(ASLEEP, NO_RAPL),
        healths=(
            Health(
                t_s=float(n),
                device="nvidia0",
                pci_id=FIRST.pci_id,
                temperature_c=50.0 + 4 * n,
                clock_mhz=2520.0,
                clock_max_mhz=3105.0,
                memory_clock_mhz=10501.0,
                power_limit_w=450.0,
                throttle=("power cap",) if n > 6 else (),
                utilisation=n / 8,
                other_pids=(4242,),
            ),
        ),
        asleep=frozenset({"CUDA1"}),
    )


MINUTE = tuple(instant(n) for n in range(8))
FACTS = replace(
    HEALTHY,
    hardware=WORKSTATION,
    meters=SeenMeters(missing=(NO_RAPL,)),
    environment={"HF_HOME": "/data/hf"},
)


class FixedGauges(Gauges):
    """Says what it was given, then nothing more."""

    def __init__(self, hardware: Hardware, instants: tuple[Instant, ...]) -> None:
        super().__init__(hardware)
        self.instants = instants
        self.has_stopped = threading.Event()

    def looks(self) -> Generator[tuple[Instant, ...]]:
        yield self.instants
        self._stopped.wait(60)
        self.has_stopped.set()


class FixedDesk(Desk):
    """Of this machine everything is fixed; profiles and plans are the real ones."""

    def __init__(self, *, facts: Facts = FACTS, asleep: bool = False) -> None:
        super().__init__(machine=WORKSTATION, exact=False)
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.may_measure = threading.Event()
        self.may_measure.set()
        self.opened: list[FixedGauges] = []
        self.asked: list[str] = []
        self._facts, self._asleep = facts, asleep

    def hardware(self, machines: tuple[str, ...] = ()) -> Hardware:
        self.may_answer.wait(60)
        return super().hardware(machines)

    def known(self) -> tuple[Known, ...]:
        return ()

    def detect_again(self) -> Hardware:
        self.asked.append("detect")
        return WORKSTATION

    def measure_bandwidth(self) -> Hardware:
        self.asked.append("measure")
        self.may_measure.wait(60)
        measured = replace(
            WORKSTATION.host, memory_bandwidth_gb_s=71.5, memory_bandwidth_basis="measured"
        )
        return replace(WORKSTATION, host=measured)

    def gauges(self, hardware: Hardware) -> Gauges:
        self.opened.append(FixedGauges(hardware, MINUTE))
        return self.opened[-1]

    def meters(self, hardware: Hardware) -> SeenMeters:
        return SeenMeters(missing=(NO_RAPL,))

    def gpu_sleeps(self) -> bool:
        return self._asleep

    def check_up(self) -> Facts:
        self.asked.append("check")
        return self._facts

    def own_measurements(self, hardware: Hardware) -> tuple[tuple[Observation, ...], str | None]:
        return (), None
