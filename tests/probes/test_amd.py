from __future__ import annotations

import os
from pathlib import Path

import pytest

from localllm.core.hardware import Device, Host
from localllm.probes.amd import KfdNode, arch_name, memory_bandwidth_gb_s, probe_amd
from localllm.probes.product_facts import with_product_facts
from localllm.probes.profiles import load_profile
from localllm.units import GiB, MiB
from tests.support.trees import Files, plant

HOST = Host(cpu="x", os="linux", machine="x86_64", total_bytes=64 * GiB, available_bytes=48 * GiB)
SLOT = "sys/devices/pci0000:00/0000:00:01.1"
RX_7900_XTX = f"{SLOT}/0000:01:00.0/0000:02:00.0/0000:03:00.0"
NODE = "/sys/class/kfd/kfd/topology/nodes/1"


def card(root: Path, index: int, device: str) -> None:
    """Link a card to its PCI device, as sysfs does."""
    folder = root / f"sys/class/drm/card{index}"
    folder.mkdir(parents=True)
    folder.joinpath("device").symlink_to(os.path.relpath(root / device, folder))


def function(path: str, *, vendor: str = "0x1002", gen: str = "16.0", width: int = 16) -> Files:
    return {
        f"/{path}/vendor": vendor,
        f"/{path}/current_link_speed": f"{gen} GT/s PCIe",
        f"/{path}/current_link_width": width,
        f"/{path}/max_link_speed": "16.0 GT/s PCIe",
        f"/{path}/max_link_width": 16,
    }


@pytest.fixture
def tower(root: Path) -> Path:
    """An RX 7900 XTX behind its own switch, in a slot that runs 8 lanes of PCIe 3."""
    plant(
        root,
        {
            f"/{SLOT}/vendor": "0x1022",
            **function(f"{SLOT}/0000:01:00.0", gen="8.0", width=8),
            **function(f"{SLOT}/0000:01:00.0/0000:02:00.0"),
            **function(RX_7900_XTX),
            f"/{RX_7900_XTX}/device": "0x744c",
            f"/{RX_7900_XTX}/revision": "0xc8",
            f"/{RX_7900_XTX}/uevent": "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:03:00.0",
            f"/{RX_7900_XTX}/mem_info_vram_total": 25753026560,
            f"/{RX_7900_XTX}/mem_info_vram_used": 600 * MiB,
            f"/{RX_7900_XTX}/mem_info_gtt_total": 32 * GiB,
            f"/{RX_7900_XTX}/unique_id": "7a1bd9f3c2e60718",
            f"/{RX_7900_XTX}/hwmon/hwmon4/power1_cap": 339000000,
            f"/{RX_7900_XTX}/hwmon/hwmon4/in0_label": "vddgfx",
            f"/{RX_7900_XTX}/power/runtime_status": "active",
            "/usr/share/libdrm/amdgpu.ids": (
                "# comment\n1.0.0\n744C,\tC8,\tAMD Radeon RX 7900 XTX\n744C,\tCC,\tRX 7900 XT"
            ),
            "/sys/class/kfd/kfd/topology/nodes/0/properties": "cpu_cores_count 16\nsimd_count 0",
            f"{NODE}/properties": (
                "simd_count 192\nsimd_per_cu 2\ngfx_target_version 110000\n"
                "location_id 768\ndomain 0"
            ),
            f"{NODE}/mem_banks/0/properties": "heap_type 1\nwidth 384\nmem_clk_max 1249",
        },
    )
    card(root, 1, RX_7900_XTX)
    (root / "sys/class/drm/card1-DP-1").mkdir()
    (root / "sys/class/drm/renderD128").mkdir()
    return root


def only(root: Path, *, wake: bool = False) -> Device:
    (device,) = probe_amd(root, HOST, wake=wake).devices
    return device


def test_a_card_is_read_from_three_drivers_files(tower: Path) -> None:
    device = only(tower)

    assert (device.name, device.description) == ("amd0", "AMD Radeon RX 7900 XTX")
    assert (device.kind, device.unified) == ("gpu", False)
    assert (device.total_bytes, device.free_bytes) == (25753026560, 25753026560 - 600 * MiB)
    assert (device.pci_id, device.uuid) == ("0000:03:00.0", "7a1bd9f3c2e60718")
    assert (device.arch, device.n_multiprocessors) == ("gfx1100", 96)
    assert device.power_limit_w == 339.0
    assert device.memory_bandwidth_gb_s == pytest.approx(959, rel=0.001)
    assert device.unknown == {"driver": "the kernel's own amdgpu has no version"}


def test_a_power_limit_of_0_is_not_known_rather_than_none(tower: Path) -> None:
    plant(tower, {f"/{RX_7900_XTX}/hwmon/hwmon4/power1_cap": 0})

    device = only(tower)

    assert device.power_limit_w is None
    assert device.unknown["power_limit_w"] == "amdgpu gives no power1_cap"


def test_the_rest_of_what_a_card_is_comes_from_its_profile(tower: Path) -> None:
    known = load_profile("rx-7900-xtx").hardware.devices[0]

    (device,) = with_product_facts((only(tower),), HOST)

    assert device.memory_bandwidth_gb_s == pytest.approx(959, rel=0.001), "the probe's own"
    assert device.memory_bandwidth_basis == "memory clock x bus width"
    assert (device.memory_type, device.fp32_tflops, device.int8_tops) == (
        known.memory_type,
        known.fp32_tflops,
        known.int8_tops,
    )


def test_the_link_that_counts_is_the_slots_and_not_the_one_inside_the_card(tower: Path) -> None:
    device = only(tower)

    assert (device.pcie_gen, device.pcie_width) == (3, 8)
    assert (device.pcie_gen_max, device.pcie_width_max) == (4, 16)


def test_a_sleeping_card_is_not_asked_what_would_wake_it(tower: Path) -> None:
    plant(tower, {f"/{RX_7900_XTX}/power/runtime_status": "suspended"})

    asleep, awake = only(tower), only(tower, wake=True)

    assert asleep.total_bytes == 25753026560, "the driver remembers it"
    assert (asleep.power_limit_w, asleep.pcie_gen) == (None, None)
    assert asleep.unknown["power_limit_w"] == "the GPU sleeps; reading it would wake it"
    assert awake.power_limit_w == 339.0


def test_what_amdgpu_does_not_give_is_none_with_a_reason(root: Path) -> None:
    path = f"{SLOT}/0000:03:00.0"
    plant(root, {f"/{path}/vendor": "0x1002", f"/{path}/device": "0x67df"})
    card(root, 0, path)

    device = only(root)

    assert device.description == "AMD GPU [1002:67df]"
    assert device.pci_id == "0000:03:00.0", "from the folder's name"
    for field in ("total_bytes", "free_bytes", "arch", "n_multiprocessors", "power_limit_w"):
        assert getattr(device, field) is None
        assert device.unknown[field]
    assert device.memory_bandwidth_gb_s is None


def test_an_apu_has_its_carve_out_and_a_share_of_the_hosts_memory(root: Path) -> None:
    path = "sys/devices/pci0000:00/0000:00:08.1/0000:c5:00.0"
    plant(
        root,
        {
            f"/{path}/vendor": "0x1002",
            f"/{path}/device": "0x1586",
            f"/{path}/mem_info_vram_total": 1 * GiB,
            f"/{path}/mem_info_vram_used": 256 * MiB,
            f"/{path}/mem_info_gtt_total": 60 * GiB,
            f"/{path}/mem_info_gtt_used": 0,
            f"/{path}/uevent": "PCI_SLOT_NAME=0000:c5:00.0",
            f"{NODE}/properties": (
                "simd_count 80\nsimd_per_cu 2\ngfx_target_version 110501\nlocation_id 50432"
            ),
        },
    )
    card(root, 0, path)

    device = only(root)

    assert (device.kind, device.unified, device.arch) == ("igpu", True, "gfx1151")
    assert device.total_bytes == 61 * GiB
    # Of the 60 GiB that the GTT would allow the host has 48 available.
    assert device.free_bytes == 1 * GiB - 256 * MiB + 48 * GiB


def test_a_voltage_that_only_apus_have_marks_an_apu_without_the_compute_driver(root: Path) -> None:
    path = "sys/devices/pci0000:00/0000:05:00.0"
    plant(
        root,
        {f"/{path}/vendor": "0x1002", f"/{path}/hwmon/hwmon2/in1_label": "vddnb"}
        | {f"/{path}/mem_info_vram_total": 512 * MiB},
    )
    card(root, 0, path)

    assert only(root).kind == "igpu"


def test_cards_of_others_are_not_amds(root: Path) -> None:
    path = "sys/devices/pci0000:00/0000:00:02.0"
    plant(root, {f"/{path}/vendor": "0x8086"})
    card(root, 0, path)

    found = probe_amd(root, HOST)

    assert found.devices == ()
    assert found.absent == "no AMD GPU with the amdgpu driver"


def test_cards_are_in_the_order_of_their_addresses(root: Path) -> None:
    for index, bus in enumerate(("c3", "03")):
        path = f"sys/devices/pci0000:00/0000:{bus}:00.0"
        plant(root, {f"/{path}/vendor": "0x1002"})
        card(root, index, path)

    devices = probe_amd(root, HOST).devices

    assert [(device.name, device.pci_id) for device in devices] == [
        ("amd0", "0000:03:00.0"),
        ("amd1", "0000:c3:00.0"),
    ]


@pytest.mark.parametrize(
    ("version", "arch"),
    [
        (110000, "gfx1100"),
        (110501, "gfx1151"),
        (100302, "gfx1032"),
        (90010, "gfx90a"),
        (90402, "gfx942"),
        (90012, "gfx90c"),
        (120001, "gfx1201"),
        (0, None),
    ],
)
def test_target_versions_are_arch_names(version: int, arch: str | None) -> None:
    assert arch_name(version) == arch


@pytest.mark.parametrize(
    ("arch", "clock_mhz", "width_bits", "apu", "gb_s"),
    [
        ("gfx90a", 1600, 4096, False, 1638),  # MI210
        ("gfx1030", 1000, 256, False, 512),  # RX 6800 XT
        ("gfx803", 2000, 256, False, None),  # GDDR5: neither rule holds
        ("gfx1151", 1000, 256, True, None),
        ("gfx1100", None, 384, False, None),
    ],
)
def test_bandwidth_is_computed_only_where_the_memory_type_is_clear(
    arch: str, clock_mhz: int | None, width_bits: int, apu: bool, gb_s: float | None
) -> None:
    node = KfdNode(arch=arch, memory_clock_mhz=clock_mhz, memory_width_bits=width_bits)

    assert memory_bandwidth_gb_s(node, apu=apu) == (
        None if gb_s is None else pytest.approx(gb_s, rel=0.001)
    )
