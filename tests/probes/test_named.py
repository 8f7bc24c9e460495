"""Machines put together from several names."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.errors import NotFoundError, UsageError
from localllm.probes.named import named_hardware
from localllm.probes.profiles import load_profile

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hardware"


def test_gpus_of_several_names_are_one_machine_in_the_order_given() -> None:
    hardware = named_hardware(["rtx-3090", "2x rtx-4090"])

    assert hardware.name == "rtx-3090 + 2x rtx-4090"
    assert [(d.name, d.description[-4:]) for d in hardware.devices] == [
        ("CUDA0", "3090"),
        ("CUDA1", "4090"),
        ("CUDA2", "4090"),
    ]


def test_a_host_beside_gpus_replaces_the_one_they_sit_in() -> None:
    hardware = named_hardware(["rtx-3090", "desktop-ddr4"])

    assert hardware.host == load_profile("desktop-ddr4").hardware.host
    assert [note for note in hardware.notes if "RAM is assumed" in note] == [
        "a profile's RAM is assumed: 32.0 GiB, of which 28.0 GiB are available"
    ]


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["desktop-ddr4", "desktop-ddr5"],
        ["rtx-4090", str(FIXTURES / "two-gpus.json")],
        ["rtx-4090", "nonsense"],
    ],
)
def test_names_that_do_not_combine_are_refused(names: list[str]) -> None:
    with pytest.raises(UsageError):
        named_hardware(names)


def test_a_single_name_is_a_profile_or_a_saved_machine() -> None:
    assert named_hardware(["rtx-4090"]) == load_profile("rtx-4090").hardware
    assert len(named_hardware([str(FIXTURES / "two-gpus.json")]).devices) == 2
    with pytest.raises(NotFoundError):
        named_hardware(["missing.json"])
