from __future__ import annotations

import pytest

from localllm.core.hardware import Device
from localllm.probes.visible import cuda_visibility, hides_all_cuda, variable_for


def card(index: int, *, name: str = "RTX 3090", uuid: str = "", mig: str | None = None) -> Device:
    return Device(
        name=f"nvidia{index}",
        description=name,
        kind="gpu",
        backend="none",
        total_bytes=1,
        free_bytes=1,
        pci_id=f"0000:0{index}:00.0",
        uuid=uuid or f"GPU-{index}{index}{index}{index}0000-aaaa",
        mig=mig,
    )


ALIKE = [card(0), card(1), card(2)]
UNLIKE = [card(0), card(1, name="RTX 4090")]


@pytest.mark.parametrize(
    ("value", "visible"),
    [
        ("0,2,1", [0, 1, 2]),
        ("1", [1]),
        ("2,1", [1, 2]),
        (" 0 , 1 ", [0, 1]),
        ("", []),
        ("-1", []),
        ("none", []),
        ("0,2,-1,1", [0, 2]),
        ("0,3,1", [0]),
        ("0,nonsense,1", [0]),
        ("GPU-11110000-aaaa", [1]),
        ("GPU-2222", [2]),
        ("GPU-", []),  # names three, so none
        ("GPU-ffff,0", []),
        ("gpu-1111", []),
        ("GPU-1111,0", [0, 1]),
        ("MIG-GPU-1111/1/0", []),
        ("1\N{SUPERSCRIPT TWO}", []),
    ],
)
def test_entries_name_gpus_until_one_names_none(value: str, visible: list[int]) -> None:
    states = cuda_visibility({"CUDA_VISIBLE_DEVICES": value}, ALIKE)

    assert [i for i, state in enumerate(states) if state == "visible"] == visible
    assert set(states) <= {"visible", "hidden"}


def test_without_the_variable_everything_is_visible() -> None:
    assert cuda_visibility({}, ALIKE) == ["visible"] * 3


def test_numbers_among_unlike_gpus_are_not_guessed() -> None:
    """CUDA counts fastest first, NVML by bus address."""
    assert cuda_visibility({"CUDA_VISIBLE_DEVICES": "0"}, UNLIKE) == ["unclear", "unclear"]


def test_numbers_among_unlike_gpus_are_known_when_all_or_in_bus_order() -> None:
    by_bus = {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    assert cuda_visibility({"CUDA_VISIBLE_DEVICES": "1,0"}, UNLIKE) == ["visible", "visible"]
    assert cuda_visibility(by_bus, UNLIKE) == ["visible", "hidden"]


def test_an_old_drivers_name_of_a_slice_finds_it_by_its_card() -> None:
    whole = card(0, uuid="GPU-aaaa", mig="enabled")
    part = card(0, uuid="MIG-GPU-aaaa/7/0", mig="1g.10gb")

    states = cuda_visibility({"CUDA_VISIBLE_DEVICES": "MIG-GPU-aaaa/7/0"}, [whole, part])

    assert states == ["hidden", "visible"]


@pytest.mark.parametrize(
    ("value", "hides"),
    [(None, False), ("", True), ("-1", True), ("0", False), ("GPU-1,0", False), ("none", True)],
)
def test_a_list_that_begins_with_no_device_hides_all(value: str | None, hides: bool) -> None:
    env = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}

    assert hides_all_cuda(env) is hides


def test_each_backend_obeys_its_own_variables() -> None:
    env = {"HIP_VISIBLE_DEVICES": "1", "CUDA_VISIBLE_DEVICES": "0"}

    assert variable_for("rocm", env) == "HIP_VISIBLE_DEVICES=1"
    assert variable_for("cuda", env) == "CUDA_VISIBLE_DEVICES=0"
    assert variable_for("metal", env) is None
