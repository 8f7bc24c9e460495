from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from localllm.core.generation import EngineDevice
from localllm.core.hardware import Device, Host
from localllm.probes.machine import accelerators_present, detect, gpu_sleeps, machine_name
from localllm.units import GiB
from tests.support.fake_nvml import FakeDriver, Scenario, rtx_3090, rtx_4090
from tests.support.trees import TOTAL_BYTES, Files, cpu_files, pci_files, plant

CPU_ONLY: list[dict[str, Any]] = [
    {"name": "CPU", "description": "x", "type": "cpu", "total_bytes": 1, "free_bytes": 1}
]


def cuda(index: int, device_id: str) -> dict[str, Any]:
    return {
        "name": f"CUDA{index}",
        "description": "NVIDIA",
        "type": "gpu",
        "total_bytes": GiB,
        "free_bytes": GiB,
        "device_id": device_id,
    }


def test_host_and_devices_come_together_in_llama_cpps_order(driver: FakeDriver, root: Path) -> None:
    plant(root, cpu_files(8, name="AMD Ryzen 7"))
    scenario = Scenario(gpus=(rtx_3090(), rtx_4090()))  # NVML: by bus address
    engine = [*CPU_ONLY, cuda(0, "0000:c1:00.0"), cuda(1, "0000:21:00.0")]  # CUDA: fastest first

    document = driver.detect(scenario, root=root, engine=engine)

    assert document["name"] == "NVIDIA GeForce RTX 4090, NVIDIA GeForce RTX 3090, AMD Ryzen 7"
    assert document["source"] == "this machine"
    assert document["host"]["total_bytes"] == TOTAL_BYTES
    assert [(d["name"], d["description"]) for d in document["devices"]] == [
        ("CUDA0", "NVIDIA GeForce RTX 4090"),
        ("CUDA1", "NVIDIA GeForce RTX 3090"),
    ]
    assert document["notes"] == []


def test_a_machine_without_a_gpu_says_what_was_looked_for(driver: FakeDriver, root: Path) -> None:
    plant(root, cpu_files(4))
    scenario = Scenario(system={"code.nvmlInitWithFlags": 12})

    document = driver.detect(scenario, root=root, engine=CPU_ONLY)

    assert document["devices"] == []
    assert document["notes"] == [
        "no GPU: no NVIDIA driver is installed (its library libnvidia-ml is not found); "
        "no AMD GPU with the amdgpu driver"
    ]


def test_a_cpu_build_beside_a_gpu_says_how_to_mend_it(driver: FakeDriver, root: Path) -> None:
    plant(root, cpu_files(4))

    notes = driver.detect(Scenario(gpus=(rtx_4090(),)), root=root, engine=CPU_ONLY)["notes"]

    assert any("LOCALLLM_BACKEND=cuda ./scripts/localllm doctor" in note for note in notes)


def test_a_gpu_without_its_driver_is_not_blamed_on_the_build(
    driver: FakeDriver, root: Path
) -> None:
    plant(root, cpu_files(4) | pci_files("0000:c1:00.0"))
    scenario = Scenario(system={"code.nvmlInitWithFlags": 9})

    notes = driver.detect(scenario, root=root, engine=CPU_ONLY)["notes"]

    assert notes == ["no NVIDIA GPU can be used: the NVIDIA driver is not loaded"]


@pytest.mark.parametrize(
    ("files", "env", "present"),
    [
        ({}, {}, False),
        ({"/proc/driver/nvidia/gpus/0000:c1:00.0/information": ""}, {}, True),
        ({"/dev/nvidiactl": ""}, {}, True),
        ({"/dev/nvidiactl": ""}, {"CUDA_VISIBLE_DEVICES": "0"}, True),
        ({"/dev/nvidiactl": ""}, {"CUDA_VISIBLE_DEVICES": ""}, False),
        ({"/dev/nvidiactl": ""}, {"CUDA_VISIBLE_DEVICES": "-1"}, False),
        (pci_files("0000:c1:00.0"), {}, True),
        (pci_files("0000:03:00.0", vendor=0x1002), {"CUDA_VISIBLE_DEVICES": ""}, True),
        (pci_files("0000:00:02.0", vendor=0x8086), {}, False),  # without a render node
        ({"/dev/dxg": ""}, {}, True),
        ({"/dev/kfd": ""}, {}, True),
        ({"/sys/class/drm/renderD128/device/vendor": "0x8086"}, {}, True),
    ],
)
def test_llama_cpp_is_asked_only_where_something_shows_of_a_gpu(
    root: Path, files: Files, env: dict[str, str], present: bool
) -> None:
    assert accelerators_present(plant(root, files), env) is present


def test_an_nvidia_cards_own_render_node_is_not_another_gpu(root: Path) -> None:
    plant(root, pci_files("0000:c1:00.0"))
    node = root / "sys/class/drm/renderD128"
    node.mkdir(parents=True)
    (node / "device").symlink_to(root / "sys/bus/pci/devices/0000:c1:00.0")

    assert accelerators_present(root, {"CUDA_VISIBLE_DEVICES": ""}) is False


@pytest.mark.parametrize(
    ("status", "sleeps"), [("suspended", True), ("active", False), (None, False)]
)
def test_a_gpu_that_llama_cpp_would_wake_is_known_before_asking(
    root: Path, status: str | None, sleeps: bool
) -> None:
    assert gpu_sleeps(plant(root, pci_files("0000:01:00.0", status=status))) is sleeps


def test_a_machines_name_counts_equal_gpus_and_no_slices() -> None:
    host = Host(cpu="AMD EPYC", os="linux", machine="x86_64", total_bytes=1, available_bytes=1)

    def gpu(name: str, mig: str | None = None) -> Device:
        return Device(
            name="d",
            description=name,
            kind="gpu",
            backend="none",
            total_bytes=1,
            free_bytes=1,
            mig=mig,
        )

    assert machine_name(host, []) == "AMD EPYC"
    assert machine_name(host, [gpu("A"), gpu("B"), gpu("A")]) == "2x A, B, AMD EPYC"
    assert machine_name(host, [gpu("A", "enabled"), gpu("A MIG 1g", "1g")]) == "A, AMD EPYC"


@pytest.mark.skipif(sys.platform != "linux", reason="a smoke test of the real machine under Linux")
def test_this_machine_is_detected_whatever_it_is() -> None:
    cpu = EngineDevice(name="CPU", description="x", type="cpu", total_bytes=1, free_bytes=1)

    hardware = detect([cpu])

    assert 0 < hardware.host.available_bytes <= hardware.host.total_bytes
    assert hardware.name
    for device in hardware.devices:
        if device.total_bytes is not None and device.free_bytes is not None:
            assert 0 <= device.free_bytes <= device.total_bytes
        assert device.backend == "none", "llama.cpp listed a CPU only"
        for field in ("total_bytes", "free_bytes", "power_limit_w", "memory_bandwidth_gb_s"):
            assert getattr(device, field) is not None or field in device.unknown
