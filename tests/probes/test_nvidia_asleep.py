"""A laptop whose NVIDIA GPU sleeps: nothing may wake it unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.units import MiB
from tests.support.fake_nvml import FakeDriver, Scenario, only_device, rtx_4090
from tests.support.trees import pci_files, plant


@pytest.fixture
def laptop(machine: Path) -> Path:
    return plant(
        machine,
        pci_files("0000:01:00.0", device=0x2820, status="suspended")
        | {
            "/proc/driver/nvidia/gpus/0000:01:00.0/information": (
                "Model: \t\t NVIDIA GeForce RTX 4070 Laptop GPU\n"
                "IRQ:   \t\t 181\nGPU UUID: \t GPU-????????-????-????-????-????????????\n"
            ),
            "/sys/module/nvidia/version": "560.35.03",
        },
    )


def test_a_sleeping_gpu_gets_no_call_at_all_init_included(driver: FakeDriver, laptop: Path) -> None:
    document = driver.detect(Scenario(gpus=(rtx_4090(),)), root=laptop)

    assert driver.calls() == []
    device = only_device(document)
    assert device["description"] == "NVIDIA GeForce RTX 4070 Laptop GPU"
    assert (device["pci_id"], device["driver"]) == ("0000:01:00.0", "560.35.03")
    assert device["total_bytes"] is None
    assert {device["unknown"][f] for f in ("total_bytes", "uuid", "pcie_gen", "power_limit_w")} == {
        "the GPU sleeps; reading it would wake it"
    }
    assert any("sleeps and was left asleep" in note for note in document["notes"])


def test_a_sleeping_gpu_is_woken_when_asked(driver: FakeDriver, laptop: Path) -> None:
    gpu = rtx_4090(bus_id="00000000:01:00.0", total_mib=8188)

    device = only_device(driver.detect(Scenario(gpus=(gpu,)), root=laptop, wake=True))

    assert device["total_bytes"] == 8188 * MiB
    assert "nvmlInitWithFlags" in driver.calls()


def test_one_gpu_awake_is_enough_to_open_nvml(driver: FakeDriver, laptop: Path) -> None:
    plant(laptop, pci_files("0000:c1:00.0", status="active"))

    devices = driver.detect(Scenario(gpus=(rtx_4090(),)), root=laptop)["devices"]

    assert [device["pci_id"] for device in devices] == ["0000:c1:00.0"]
