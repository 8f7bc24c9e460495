from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localllm.core.hardware import Device, Host
from localllm.core.hardware_document import hardware_document
from localllm.probes.product_facts import product_words, with_product_facts
from localllm.probes.profiles import load_profile
from localllm.probes.saved import load_hardware
from localllm.units import GiB
from tests.support.fake_nvml import FakeDriver, Scenario, rtx_4090
from tests.support.trees import cpu_files, plant

NEVER_PROBED: dict[str, Any] = dict.fromkeys(
    (
        *("memory_type", "fp32_tflops", "fp16_tflops", "int8_tops", "fp8_tflops", "fp4_tflops"),
        "idle_power_w",
    )
)
HOST = Host(cpu="CPU", os="linux", machine="x86_64", total_bytes=64 * GiB, available_bytes=60 * GiB)
PRODUCTS = (
    *("a100-pcie-80gb", "a100-sxm4-40gb", "h100-pcie-80gb", "v100-pcie-16gb", "p100-pcie-16gb"),
    *("rtx-4090", "rtx-3060-laptop", "rtx-3060-8gb", "rtx-3080-12gb", "rtx-4070-gddr6", "t4"),
    *("rx-7900-xtx", "mi250x-half", "arc-b580", "apple-m3-max", "apple-m3-max-30-core"),
    *("apple-m3-max-128gb", "strix-halo", "gb10", "a100-pcie-80gb-mig-1g.10gb"),
    "h100-sxm5-80gb-mig-3g.40gb",
)


def of_profile(name: str) -> tuple[Device, Host]:
    hardware = load_profile(name).hardware
    return hardware.devices[0], hardware.host


def filled(device: Device, host: Host = HOST) -> Device:
    (result,) = with_product_facts((device,), host)
    return result


def card(description: str, **facts: Any) -> Device:
    known: dict[str, Any] = {"total_bytes": 24 * GiB, "free_bytes": 24 * GiB} | facts
    return Device(name="CUDA0", description=description, kind="gpu", backend="cuda", **known)


@pytest.mark.parametrize("name", PRODUCTS)
def test_what_no_probe_reads_comes_from_the_profile_of_the_product(name: str) -> None:
    device, host = of_profile(name)
    detected = replace(device, **NEVER_PROBED)

    assert device.memory_type is not None and device.fp32_tflops is not None
    assert filled(detected, host) == device


@pytest.mark.parametrize("name", ["rtx-4090", "rx-7900-xtx", "apple-m3-max", "v100-pcie-32gb"])
def test_a_device_known_to_llama_cpp_alone_gets_the_rest_too(name: str) -> None:
    device, host = of_profile(name)
    reason = "known to llama.cpp only"
    unknown = {"memory_bandwidth_gb_s": reason, "power_limit_w": reason}
    named_only = replace(
        device,
        **NEVER_PROBED,
        compute_capability=None,
        n_multiprocessors=None,
        arch=None,
        memory_bandwidth_gb_s=None,
        memory_bandwidth_basis=None,
        unknown=unknown,
    )

    assert filled(named_only, host) == replace(device, unknown={"power_limit_w": reason})


@pytest.mark.parametrize(
    ("printed", "profile"),
    [
        ("NVIDIA Tesla V100-PCIE-16GB", "v100-pcie-16gb"),
        ("NVIDIA A100-PCIE-80GB", "a100-pcie-80gb"),
        ("AMD Radeon RX 7900 XTX (RADV NAVI31)", "rx-7900-xtx"),
        ("Radeon RX 7900 XTX", "rx-7900-xtx"),
        ("AMD Instinct MI250X", "mi250x-half"),
        ("Apple M3 Max", "apple-m3-max"),
        ("Intel(R) Arc(TM) B580 Graphics (BMG G21)", "arc-b580"),
    ],
)
def test_every_backends_spelling_of_a_product_is_that_product(printed: str, profile: str) -> None:
    device, host = of_profile(profile)
    detected = replace(device, **NEVER_PROBED, description=printed)

    assert filled(detected, host) == replace(device, description=printed)


def test_a_laptops_gpu_and_a_ti_are_other_products() -> None:
    names = ["RTX 4070", "RTX 4070 Laptop GPU", "RTX 4070 Ti", "RTX 4070 Ti SUPER", "RTX A4070"]

    assert len({product_words(f"NVIDIA GeForce {name}") for name in names}) == len(names)


def test_what_a_probe_has_read_is_kept() -> None:
    device, host = of_profile("rtx-4090")
    read = replace(
        device,
        **NEVER_PROBED | {"fp16_tflops": 123.0},
        memory_bandwidth_gb_s=1000.0,
        memory_bandwidth_basis="memory clock x bus width",
        power_limit_w=300.0,
    )

    result = filled(read, host)

    assert result.fp16_tflops == 123.0
    assert result.memory_bandwidth_gb_s == 1000.0
    assert result.memory_bandwidth_basis == "memory clock x bus width"
    assert result.power_limit_w == 300.0
    assert result.memory_type == "GDDR6X"


def test_nothing_is_made_up_for_an_unknown_product() -> None:
    for description in ("NVIDIA GeForce RTX 9090", "GRID A100-10C", "192.168.0.7:50052", ""):
        assert filled(card(description)) == card(description)


@pytest.mark.parametrize(
    "contradiction",
    [
        {"total_bytes": 48 * GiB},  # a rebuilt card
        {"compute_capability": (8, 6)},
    ],
)
def test_a_card_that_contradicts_the_profile_is_not_its_product(
    contradiction: dict[str, Any],
) -> None:
    result = filled(card("NVIDIA GeForce RTX 4090", **contradiction))

    assert result.fp32_tflops is None
    assert result.idle_power_w is None


def test_two_products_of_one_name_share_only_what_both_are() -> None:
    unsure = filled(card("NVIDIA GeForce RTX 4070", total_bytes=12 * GiB))
    sure = filled(
        card("NVIDIA GeForce RTX 4070", total_bytes=12 * GiB, memory_bandwidth_gb_s=480.1)
    )

    assert (unsure.memory_type, unsure.fp32_tflops) == (None, sure.fp32_tflops)
    assert unsure.memory_bandwidth_basis is None
    assert sure.memory_type == "GDDR6"


@pytest.mark.parametrize(
    ("capability", "memory_type"),
    [
        *(((6, 0), "HBM"), ((7, 0), "HBM"), ((8, 0), "HBM"), ((9, 0), "HBM"), ((10, 3), "HBM")),
        *(((6, 1), "GDDR"), ((7, 5), "GDDR"), ((8, 6), "GDDR"), ((8, 9), "GDDR")),
        *(((12, 0), "GDDR"), ((8, 7), None), ((12, 1), None), (None, None)),
    ],
)
def test_an_unknown_nvidia_chip_still_tells_what_memory_it_has(
    capability: tuple[int, int] | None, memory_type: str | None
) -> None:
    result = filled(card("NVIDIA PG506-232", compute_capability=capability))

    assert result.memory_type == memory_type
    assert result.fp32_tflops is None


def test_a_slice_that_no_profile_lists_has_its_multiprocessors_share_of_the_arithmetic() -> None:
    whole, host = of_profile("a100-pcie-80gb")
    part = card(
        "NVIDIA A100 80GB PCIe MIG 1c.3g.40gb",
        mig="1c.3g.40gb",
        total_bytes=39 * GiB,
        compute_capability=(8, 0),
        n_multiprocessors=14,
    )

    result = filled(part, host)

    assert whole.fp32_tflops is not None
    assert result.fp32_tflops == pytest.approx(whole.fp32_tflops * 14 / 108, abs=0.01)
    assert result.memory_type == "HBM2e"
    assert (result.memory_bandwidth_gb_s, result.idle_power_w) == (None, None)
    assert filled(replace(part, n_multiprocessors=None), host).fp32_tflops is None


def test_a_divided_card_still_is_the_whole_card() -> None:
    device, host = of_profile("a100-sxm4-80gb")

    assert filled(replace(device, **NEVER_PROBED, mig="enabled"), host) == replace(
        device, mig="enabled"
    )


def test_detection_completes_what_nvml_tells(driver: FakeDriver, root: Path) -> None:
    plant(root, cpu_files(8))
    known, _ = of_profile("rtx-4090")

    (device,) = driver.detect(Scenario(gpus=(rtx_4090(),)), root=root, engine=None)["devices"]

    assert {key: device[key] for key in NEVER_PROBED} == {
        key: getattr(known, key) for key in NEVER_PROBED
    }
    assert device["memory_bandwidth_basis"] == "memory clock x bus width"


def test_a_machine_saved_without_these_facts_plans_like_one_with_them(tmp_path: Path) -> None:
    hardware = load_profile("2x rtx-3090").hardware
    bare = replace(hardware, devices=tuple(replace(d, **NEVER_PROBED) for d in hardware.devices))
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(hardware_document(bare)))

    assert load_hardware(path).devices == hardware.devices
