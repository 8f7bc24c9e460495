from __future__ import annotations

from pathlib import Path

import pytest

from localllm.system.pci import NVIDIA, displays, link_generation, link_width, normal_pci_id
from tests.support.trees import pci_files, plant


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("00000000:C1:00.0", "0000:c1:00.0"),
        ("0000:c1:00.0", "0000:c1:00.0"),
        ("0000:c1:00.0-v1", "0000:c1:00.0"),
        ("c1:00.0", "0000:c1:00.0"),
        ("000c:00:00.0", "000c:00:00.0"),
        ("00010000:E1:00.0", "10000:e1:00.0"),
        ("0000:c1:00.8", None),
        ("eecc6b88:648460", None),
        ("GPU-8932f937", None),
        ("", None),
        (None, None),
    ],
)
def test_one_card_has_one_address(text: str | None, address: str | None) -> None:
    assert normal_pci_id(text) == address


def test_only_displays_and_compute_cards_of_the_vendor_count(root: Path) -> None:
    audio = {k: v for k, v in pci_files("0000:c1:00.1").items()}
    audio["/sys/bus/pci/devices/0000:c1:00.1/class"] = "0x040300"
    compute = pci_files("0000:07:00.0", status=None)
    compute["/sys/bus/pci/devices/0000:07:00.0/class"] = "0x030200"
    files = pci_files("0000:c1:00.0") | audio | compute | pci_files("0000:03:00.0", vendor=0x1002)

    found = displays(plant(root, files), NVIDIA)

    assert [(d.pci_id, d.runtime_status) for d in found] == [
        ("0000:07:00.0", None),
        ("0000:c1:00.0", "active"),
    ]


@pytest.mark.parametrize(
    ("text", "generation"),
    [
        ("2.5 GT/s PCIe", 1),
        ("5.0 GT/s PCIe", 2),
        ("5 GT/s", 2),
        ("8.0 GT/s PCIe", 3),
        ("16.0 GT/s PCIe", 4),
        ("32.0 GT/s PCIe", 5),
        ("64.0 GT/s PCIe", 6),
        ("Unknown", None),
        (None, None),
    ],
)
def test_link_speeds_are_generations(text: str | None, generation: int | None) -> None:
    assert link_generation(text) == generation


@pytest.mark.parametrize(("value", "width"), [(16, 16), (1, 1), (0, None), (255, None)])
def test_a_width_that_the_kernel_cannot_see_is_unknown(
    root: Path, value: int, width: int | None
) -> None:
    assert link_width(plant(root, {"/width": value}), "width") == width
