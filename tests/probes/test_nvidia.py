"""NVIDIA GPUs through the real ``nvidia-ml-py`` over a fake driver library."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.probes.nvidia_device import memory_bandwidth_gb_s
from localllm.units import MiB
from tests.support.fake_nvml import (
    FakeDriver,
    Scenario,
    Values,
    build,
    only_device,
    rtx_3090,
    rtx_4090,
)
from tests.support.trees import pci_files, plant

PCI_4090 = "0000:c1:00.0"
PCI_3090 = "0000:21:00.0"


def test_every_field_that_the_driver_tells_is_read(driver: FakeDriver, machine: Path) -> None:
    device = only_device(driver.detect(Scenario(gpus=(rtx_4090(),)), root=machine))

    assert device == {
        "name": "nvidia0",
        "description": "NVIDIA GeForce RTX 4090",
        "kind": "gpu",
        "backend": "cuda",
        "total_bytes": 24564 * MiB,
        "free_bytes": (24564 - 484 - 4) * MiB,
        "reserved_bytes": 484 * MiB,
        "unified": False,
        "pci_id": PCI_4090,
        "uuid": "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",
        "driver": "560.35.03",
        "cuda_version": "12.6",
        "arch": None,
        "compute_capability": [8, 9],
        "n_multiprocessors": 128,
        "memory_bandwidth_gb_s": pytest.approx(1008.1, abs=0.1),
        "memory_bandwidth_basis": "memory clock x bus width",
        "pcie_gen": 1,
        "pcie_gen_max": 4,
        "pcie_width": 16,
        "pcie_width_max": 16,
        "power_limit_w": 450.0,
        "idle_power_w": 18.0,  # from here to FP8 the profile's: no driver tells
        "memory_type": "GDDR6X",
        "nvlink_gb_s": None,
        "fp32_tflops": 82.58,
        "fp16_tflops": 165.2,
        "int8_tops": 660.6,
        "fp8_tflops": 330.3,
        "fp4_tflops": None,
        "mig": None,
        "alignment_bytes": None,
        "overhead_bytes": None,
        "visible": True,
        "unknown": {},
    }


def test_a_power_limit_of_0_is_not_known_rather_than_none(
    driver: FakeDriver, machine: Path
) -> None:
    device = only_device(driver.detect(Scenario(gpus=(rtx_4090(power_limit_mw=0),)), root=machine))

    assert device["power_limit_w"] is None
    assert device["unknown"] == {"power_limit_w": "the driver gives a limit of 0"}


def test_nvml_is_opened_once_and_always_closed(driver: FakeDriver, machine: Path) -> None:
    driver.detect(Scenario(gpus=(rtx_4090(), rtx_3090())), root=machine)

    calls = driver.calls()
    assert calls[0] == "nvmlInitWithFlags"
    assert calls[-1] == "nvmlShutdown"
    assert calls.count("nvmlInitWithFlags") == calls.count("nvmlShutdown") == 1


@pytest.mark.parametrize(
    ("clock_mhz", "width_bits", "vendor_gb_s"),
    [
        (10501, 384, 1008),  # RTX 4090, GDDR6X
        (14001, 512, 1792),  # RTX 5090, GDDR7
        (7501, 192, 360),  # RTX 3060, GDDR6
        (1512, 5120, 1935),  # A100 PCIe 80 GB, HBM2e
        (2619, 5120, 3350),  # H100 SXM5, HBM3
    ],
)
def test_clock_times_width_is_the_vendors_bandwidth(
    clock_mhz: int, width_bits: int, vendor_gb_s: int
) -> None:
    assert memory_bandwidth_gb_s(clock_mhz, width_bits) == pytest.approx(vendor_gb_s, rel=0.001)


FIELD_BY_FUNCTION = {
    "nvmlDeviceGetCudaComputeCapability": "compute_capability",
    "nvmlDeviceGetNumGpuCores": "n_multiprocessors",
    "nvmlDeviceGetMemoryBusWidth": "memory_bandwidth_gb_s",
    "nvmlDeviceGetMaxClockInfo": "memory_bandwidth_gb_s",
    "nvmlDeviceGetCurrPcieLinkGeneration": "pcie_gen",
    "nvmlDeviceGetMaxPcieLinkGeneration": "pcie_gen_max",
    "nvmlDeviceGetCurrPcieLinkWidth": "pcie_width",
    "nvmlDeviceGetMaxPcieLinkWidth": "pcie_width_max",
    "nvmlDeviceGetEnforcedPowerLimit": "power_limit_w",
    "nvmlDeviceGetUUID": "uuid",
    "nvmlDeviceGetPciInfo_v3": "pci_id",
}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (3, "not supported"),
        (4, "administrator"),
        (13, "older than this query"),
        (999, "NVML error 999"),
    ],
)
def test_a_call_that_fails_leaves_its_field_unknown_and_the_rest_known(
    driver: FakeDriver, machine: Path, code: int, reason: str
) -> None:
    failing = {f"code.{function}": code for function in FIELD_BY_FUNCTION}

    device = only_device(driver.detect(Scenario(gpus=(rtx_4090(**failing),)), root=machine))

    fields = set(FIELD_BY_FUNCTION.values())
    of_the_product = {"compute_capability", "n_multiprocessors", "memory_bandwidth_gb_s"}
    for field in fields - of_the_product:
        assert device[field] is None, field
    assert {device["unknown"][field] for field in fields - of_the_product} == {
        next(r for r in device["unknown"].values() if reason in r)
    }
    assert not of_the_product & set(device["unknown"])
    assert device["memory_bandwidth_basis"] == "profile"
    assert (device["compute_capability"], device["n_multiprocessors"]) == ([8, 9], 128)


def test_a_call_that_fails_on_an_unknown_product_leaves_its_field_unknown(
    driver: FakeDriver, machine: Path
) -> None:
    failing = {f"code.{function}": 3 for function in FIELD_BY_FUNCTION}
    gpu = rtx_4090(name="NVIDIA PG506-232", **failing)

    device = only_device(driver.detect(Scenario(gpus=(gpu,)), root=machine))

    for field in FIELD_BY_FUNCTION.values():
        assert device[field] is None, field
        assert device["unknown"][field]


def test_a_call_that_fails_takes_nothing_else_with_it(driver: FakeDriver, machine: Path) -> None:
    failing = {f"code.{function}": 3 for function in FIELD_BY_FUNCTION}

    device = only_device(driver.detect(Scenario(gpus=(rtx_4090(**failing),)), root=machine))

    assert device["description"] == "NVIDIA GeForce RTX 4090"
    assert device["free_bytes"] == 24076 * MiB


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (9, "the NVIDIA driver is not loaded"),
        (12, "no NVIDIA driver is installed"),
        (13, "older than this query"),
        (15, "the GPU is lost"),
        (18, "restart the machine"),
        (999, "NVML error 999"),
    ],
)
def test_without_nvml_there_is_still_a_machine_and_one_line_that_says_why(
    driver: FakeDriver, machine: Path, code: int, reason: str
) -> None:
    scenario = Scenario(system={"code.nvmlInitWithFlags": code})

    document = driver.detect(scenario, root=machine)

    assert document["devices"] == []
    assert document["host"]["n_cores_physical"] == 8
    assert len([note for note in document["notes"] if reason in note]) == 1
    assert set(driver.calls()) == {"nvmlInitWithFlags"}


def test_a_gpu_on_the_bus_without_a_driver_is_listed_but_not_usable(
    driver: FakeDriver, machine: Path
) -> None:
    plant(machine, pci_files(PCI_4090))
    scenario = Scenario(system={"code.nvmlInitWithFlags": 12})

    document = driver.detect(scenario, root=machine)

    device = only_device(document)
    assert (device["description"], device["pci_id"]) == ("NVIDIA GPU [10de:2684]", PCI_4090)
    assert (device["backend"], device["visible"]) == ("none", False)
    assert (device["pcie_gen"], device["pcie_width"], device["pcie_width_max"]) == (4, 8, 16)
    assert "no NVIDIA driver is installed" in device["unknown"]["total_bytes"]
    assert any(note.startswith("no NVIDIA GPU can be used") for note in document["notes"])


def test_memory_held_by_others_is_not_free_and_the_holders_are_named(
    driver: FakeDriver, machine: Path
) -> None:
    plant(machine, {"/proc/812/comm": "python3"})
    gpu = rtx_4090(used_mib=5000, processes="812:4000", graphics_processes="700:600 812:10")

    document = driver.detect(Scenario(gpus=(gpu,)), root=machine)

    assert only_device(document)["free_bytes"] == (24564 - 484 - 5000) * MiB
    assert (
        "4.88 GiB of NVIDIA GeForce RTX 4090 is held by python3 (pid 812) 3.91 GiB, "
        "pid 700 600.0 MiB" in document["notes"]
    )


def test_an_idle_desktop_on_the_gpu_is_not_worth_a_line(driver: FakeDriver, machine: Path) -> None:
    gpu = rtx_4090(used_mib=300, graphics_processes="700:300")

    notes = driver.detect(Scenario(gpus=(gpu,)), root=machine)["notes"]

    assert not any("held" in note for note in notes)


def test_an_old_driver_without_version_2_of_the_query_gives_the_same_free_memory(
    tmp_path: Path, machine: Path
) -> None:
    library = build(tmp_path / "old", "-DWITHOUT_MEMORY_V2")
    old = FakeDriver(library=library, folder=tmp_path)

    device = only_device(old.detect(Scenario(gpus=(rtx_4090(),)), root=machine))

    assert device["total_bytes"] == 24564 * MiB
    assert device["free_bytes"] == 24076 * MiB
    assert device["reserved_bytes"] is None
    assert "older" in device["unknown"]["reserved_bytes"]


@pytest.mark.parametrize(
    "memory",
    [
        {"code.nvmlDeviceGetMemoryInfo": 3, "code.nvmlDeviceGetMemoryInfo_v2": 3},
        {"total_mib": 0, "reserved_mib": 0, "used_mib": 0},
    ],
    ids=["not supported", "a total of zero"],
)
def test_a_gpu_without_memory_of_its_own_shares_the_hosts(
    driver: FakeDriver, machine: Path, memory: Values
) -> None:
    gb10 = rtx_4090(name="NVIDIA GB10", compute_capability="12.1", **memory)

    document = driver.detect(Scenario(gpus=(gb10,)), root=machine)

    device, host = only_device(document), document["host"]
    assert device["unified"] is True
    assert device["total_bytes"] == host["total_bytes"]
    assert device["free_bytes"] == host["available_bytes"]


def test_a_memory_query_that_needs_rights_is_unknown_and_not_unified(
    driver: FakeDriver, machine: Path
) -> None:
    gpu = rtx_4090(**{"code.nvmlDeviceGetMemoryInfo": 4, "code.nvmlDeviceGetMemoryInfo_v2": 4})

    device = only_device(driver.detect(Scenario(gpus=(gpu,)), root=machine))

    assert (device["unified"], device["total_bytes"], device["free_bytes"]) == (False, None, None)
    assert "administrator" in device["unknown"]["free_bytes"]


def test_a_name_that_is_not_utf_8_costs_the_name_only(driver: FakeDriver, machine: Path) -> None:
    gpu = rtx_4090(name="NVIDIA \\xff\\xfe")

    device = only_device(driver.detect(Scenario(gpus=(gpu,)), root=machine))

    assert device["description"] == "NVIDIA GPU [10de:2684]"
    assert device["unknown"] == {"description": "the driver's answer is not readable text"}
    assert device["total_bytes"] == 24564 * MiB


@pytest.mark.parametrize("code", ["code.all", "code.nvmlDeviceGetHandleByIndex_v2"])
def test_a_lost_gpu_does_not_cost_the_other(driver: FakeDriver, machine: Path, code: str) -> None:
    plant(machine, pci_files(PCI_4090) | pci_files(PCI_3090))
    scenario = Scenario(gpus=(rtx_3090(**{code: 15}), rtx_4090()))

    document = driver.detect(scenario, root=machine)

    lost, healthy = sorted(document["devices"], key=lambda d: str(d["name"]))
    assert (lost["backend"], lost["visible"]) == ("none", False)
    assert lost["pci_id"] == PCI_3090, "the only address on the bus that no other GPU has"
    assert (healthy["backend"], healthy["total_bytes"]) == ("cuda", 24564 * MiB)
    assert any("the GPU is lost: reset it" in note for note in document["notes"])
    assert driver.calls()[-1] == "nvmlShutdown"


def test_a_gpu_lost_in_mid_read_keeps_what_was_read(driver: FakeDriver, machine: Path) -> None:
    gpu = rtx_4090(**{"code.nvmlDeviceGetEnforcedPowerLimit": 15, "code.nvmlDeviceGetUUID": 15})

    document = driver.detect(Scenario(gpus=(gpu,)), root=machine)

    device = only_device(document)
    assert (device["pci_id"], device["visible"]) == (PCI_4090, False)
    assert any("cannot be used: the GPU is lost" in note for note in document["notes"])


def test_cores_of_an_unknown_architecture_are_not_divided_by_guess(
    driver: FakeDriver, machine: Path
) -> None:
    gpu = rtx_4090(compute_capability="15.0")

    device = only_device(driver.detect(Scenario(gpus=(gpu,)), root=machine))

    assert device["n_multiprocessors"] is None
    assert device["unknown"] == {
        "n_multiprocessors": "NVML counts 16384 cores, not multiprocessors"
    }
