"""``localllm hardware``: complete as JSON, readable as a page."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from localllm import session
from localllm.cli.hardware_view import print_hardware
from localllm.core.calibration import Observation, Phase
from localllm.core.hardware import Hardware
from localllm.core.hardware_document import hardware_document, hardware_from_document
from localllm.core.metered.meters import Missing, SeenMeter, SeenMeters
from localllm.core.metered.readings import Source
from localllm.units import GiB
from tests.cli.conftest import Command
from tests.support.specs import gpu, host, machine

CARD = replace(
    gpu(),
    description="NVIDIA GeForce RTX 4090",
    memory_bandwidth_basis="memory clock x bus width",
    pcie_gen=1,
    pcie_gen_max=4,
    pcie_width=16,
    pcie_width_max=16,
    power_limit_w=450.0,
    driver="560.35.03",
    cuda_version="12.6",
    pci_id="0000:01:00.0",
    n_multiprocessors=128,
)
DESKTOP = replace(
    machine(CARD),
    name="a desktop",
    notes=("a note",),
    host=replace(
        host(),
        cpu_quota=1.5,
        memory_limit="/sys/fs/cgroup/memory.max",
        memory_bandwidth_gb_s=81.44,
        memory_bandwidth_basis="measured",
        n_numa_nodes=2,
    ),
)

PAGE = """\
a desktop  (test)

CUDA0  NVIDIA GeForce RTX 4090  llama.cpp: cuda
       █·······················  23.0 GiB of 24.0 GiB free
       1,008 GB/s (memory clock x bus width), PCIe gen 1 x16 now, gen 4 x16 at
       most, limit 450 W
       compute capability 8.9, 128 multiprocessors, driver 560.35.03 (CUDA
       12.6), PCI 0000:01:00.0

CPU    Test CPU
       8 cores, 16 threads, limited to 1.5 CPUs, 2 NUMA nodes, llama.cpp decodes
       with 1
       avx2

RAM    ██······················  60.0 GiB of 64.0 GiB available
       limited by /sys/fs/cgroup/memory.max
       81.4 GB/s (measured)
       no swap

Notes  a note
"""


def printed(hardware: Hardware, *, width: int = 80) -> str:
    paper = StringIO()
    print_hardware(Console(file=paper, width=width, highlight=False, markup=False), hardware)
    return "\n".join(line.rstrip() for line in paper.getvalue().splitlines()) + "\n"


def test_a_machine_is_printed_whole() -> None:
    assert printed(DESKTOP) == PAGE


def test_what_was_measured_is_summed_up_in_a_line() -> None:
    def seen(phase: Phase, ratio: float) -> Observation:
        return Observation(
            model_key="m", placement_key="cpu", phase=phase, predicted_tok_s=10.0,
            measured_tok_s=10.0 * ratio, n_tokens=128, age_days=0.0,
        )  # fmt: skip

    paper = StringIO()
    console = Console(file=paper, width=80, highlight=False, markup=False)
    print_hardware(console, DESKTOP, [seen("tg", 1.0), seen("tg", 1.08), seen("pp", 0.9)])
    line = "Speed  3 measurements kept, decode 1.04x the estimate, prompt 0.90x the estimate"
    assert line in paper.getvalue()


LAPTOP = SeenMeters(
    meters=(
        SeenMeter(
            source=Source(
                name="NVML energy counter",
                scope="GPU board",
                kind="counter",
                device="nvidia0",
                period_s=0.1,
                note="a MIG slice: the whole card's power",
            ),
            unknown="a counter tells joules",
        ),
        SeenMeter(
            source=Source(
                name="amdgpu hwmon",
                scope="GPU board",
                kind="average",
                device="amd0",
                period_s=0.1,
                window_s=1.0,
            ),
            watts=17.26,
        ),
    ),
    missing=(
        Missing(scope="CPU package", device="package 0", reason="only root may", fix="sudo x"),
    ),
)


def test_every_meter_is_shown_with_scope_kind_and_source_and_every_lack_with_its_reason() -> None:
    paper = StringIO()
    console = Console(file=paper, width=80, highlight=False, markup=False)
    print_hardware(console, DESKTOP, (), LAPTOP)
    shown = paper.getvalue()[paper.getvalue().index("Power") :]
    assert [line.strip() for line in shown.splitlines()][:5] == [
        "Power  GPU board nvidia0: counts joules (NVML energy counter)",
        "a MIG slice: the whole card's power",
        "GPU board amd0: 17.3 W, average over 1 s (amdgpu hwmon)",
        "CPU package package 0: only root may",
        "localllm doctor prints the line that enables it",
    ]


def test_a_machine_without_meters_says_why() -> None:
    none = SeenMeters(missing=(Missing(scope="CPU package", device="", reason="a VM has none"),))
    paper = StringIO()
    console = Console(file=paper, width=80, highlight=False, markup=False)
    print_hardware(console, DESKTOP, (), none)
    assert "Power  no meter\n       CPU package: a VM has none\n" in "\n".join(
        line.rstrip() for line in paper.getvalue().splitlines()
    )


def test_a_machine_without_a_gpu_says_so() -> None:
    assert "\nGPU  none\n" in printed(machine())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backend": "none"}, "not usable by this llama.cpp"),
        ({"visible": False}, "hidden from llama.cpp"),
        ({"backend": "rocm"}, "llama.cpp: rocm"),
    ],
)
def test_what_llama_cpp_can_do_with_a_card_stands_beside_its_name(
    changes: dict[str, object], words: str
) -> None:
    card = replace(CARD, **changes)  # type: ignore[arg-type]
    line = printed(machine(card)).splitlines()[2]
    assert line.endswith(f"NVIDIA GeForce RTX 4090  {words}")


def test_what_could_not_be_read_is_said_with_the_reason_and_never_as_zero() -> None:
    card = replace(
        gpu(),
        free_bytes=None,
        memory_bandwidth_gb_s=None,
        unknown={
            "free_bytes": "NVML says Not Supported",
            "power_limit_w": "NVML says Not Supported",
        },
    )
    text = printed(machine(card))
    assert "24.0 GiB, free: ?" in text
    assert "not known: free memory, power limit (NVML says Not Supported)" in text
    assert " 0 " not in text


def test_unified_memory_is_called_shared() -> None:
    card = replace(gpu(), unified=True)
    assert "free, shared with RAM" in printed(machine(card))


@pytest.mark.parametrize("width", [80, 110])
def test_the_page_keeps_to_its_width(width: int) -> None:
    assert max(map(len, printed(DESKTOP, width=width).splitlines())) <= width


def test_the_document_is_complete_enough_to_plan_from_elsewhere(
    localllm: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy_model: Path
) -> None:
    monkeypatch.setattr(session, "detect_hardware", lambda **_: DESKTOP)
    outcome = localllm("hardware", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert document.items() >= hardware_document(DESKTOP).items()
    assert document["meters"] == []  # there is no such card here, and no GPU was made up for it
    assert hardware_from_document(document) == DESKTOP
    (tmp_path / "desktop.json").write_text(outcome.out)
    plan = localllm("plan", str(toy_model), "--hardware", str(tmp_path / "desktop.json"), "--json")
    devices = json.loads(plan.out)["devices"]
    assert [device["name"] for device in devices] == ["CUDA0", "host"]


def test_this_machine_can_be_shown(localllm: Command) -> None:
    page = localllm("hardware")
    assert (page.code, page.err) == (0, "")
    assert "available" in page.out
    document = json.loads(localllm("hardware", "--json").out)
    assert document["schema"] == "localllm.hardware/1"
    assert document["host"]["total_bytes"] > GiB // 4
    said = [*document["meters"], *document["no_meters"]]
    assert said  # a meter, or why there is none
    assert all(row["watts"] != 0 for row in document["meters"])
    assert "meters" not in json.loads(localllm("hardware", "rtx-4090", "--json").out)


def test_a_card_that_llama_cpp_cannot_use_points_to_the_doctor(
    localllm: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused = machine(replace(CARD, backend="none"))
    monkeypatch.setattr(session, "detect_hardware", lambda **_: unused)
    assert "hint: localllm doctor" in localllm("hardware").err


@pytest.mark.parametrize("flags", [[], ["--measure"], ["--wake-gpus"]])
def test_flags_reach_the_probes(
    localllm: Command, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    asked: list[dict[str, bool]] = []

    def detect(**wishes: bool) -> Hardware:
        asked.append(wishes)
        return DESKTOP

    monkeypatch.setattr(session, "detect_hardware", detect)
    localllm("hardware", *flags)
    measure, wake = "--measure" in flags, "--wake-gpus" in flags
    assert asked == [{"measure_bandwidth": measure, "wake_gpus": wake}]
